# make lab    make the environment, write your own copy of the lessons into learner/, open the first one in JupyterLab
# make test   make the same environment, pass every test
# make course run every lesson headless, with its minutes beside its budget
#
# make student    write the edition with blanks into build/student; work that lies there is never overwritten
# make teacher    write the one with solutions, likely mistakes, times (it runs every lesson) and questions to discuss
# make site       build the course and the API reference as static pages into build/site
# make dashboard  start the explorers as a page of their own, without code
#
# TORCH_INDEX=ADDRESS takes torch and torchvision from another index, or from a folder of wheels.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
# Threads that wait soon sleep, as xaiprune/core/threads.py says, unless you have chosen otherwise.
ifeq ($(OMP_WAIT_POLICY)$(GOMP_SPINCOUNT),)
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 1000
endif
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# No question about news and no look for updates: the course runs offline.
LAB_SETTINGS := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}

.PHONY: lab test course student teacher site dashboard lint clean

# What you have worked in is never overwritten: a newer edition of it is put beside.
lab: $(VENV)/.ready
	$(VENV)/bin/python -m xaiprune.course.editions student learner
	$(VENV)/bin/jupyter lab learner/00_start_here.ipynb

test: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	XAIPRUNE_STRICT=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile --durations=30 \
		--nbval-lax --nbval-current-env --nbval-sanitize-with tests/sanitize.cfg tests notebooks

course: $(VENV)/.ready
	$(VENV)/bin/python -m xaiprune.course run

student: $(VENV)/.ready
	$(VENV)/bin/python -m xaiprune.course.editions student

teacher: $(VENV)/.ready
	$(VENV)/bin/python -m xaiprune.course.editions teacher --run

site: $(VENV)/.ready
	$(VENV)/bin/python -m xaiprune.course.editions site

# Through Jupyter's own server, so that its token guards the page.
dashboard: $(VENV)/.ready
	$(VENV)/bin/jupyter server --ServerApp.default_url=/voila/render/notebooks/dashboard.ipynb

lint: $(VENV)/.ready
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; this is `$(PYTHON) --version`. Try make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# The stock wheels on Linux bring CUDA; TORCH_INDEX takes these two packages from elsewhere, before all the others.
$(VENV)/.torch: $(VENV)/.python
ifneq ($(TORCH_INDEX),)
	$(PIP) install --no-deps --constraint constraints.txt torch torchvision \
		$(if $(wildcard $(TORCH_INDEX)/*.whl),--no-index --find-links $(TORCH_INDEX),--index-url $(TORCH_INDEX))
endif
	touch $@

$(VENV)/.ready: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable ".[course,deploy,scale,test]"
	mkdir -p $(VENV)/share/jupyter/lab/settings
	echo '$(LAB_SETTINGS)' > $(VENV)/share/jupyter/lab/settings/overrides.json
	touch $@
