"""Architectures of other people, and what each verb of the kit does with them: right, refused, or wrong."""
