"""The jobs: each reads one folder, writes another, and can be rerun alone. They wire the packages together."""

from brats_ablate.jobs.resolvers import register

register()
