"""What may be wrong with an installation, a machine, a data folder or a model folder, and how to mend it.

Each module is imported by itself: the installation must be looked at even where a package is broken.
"""
