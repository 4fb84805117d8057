"""The only door to the compiled core: checks and allocates, then calls the kernels of ``perovskite_polaron._ext``."""
