from . import soft_sweep

soft_sweep.run_all()
