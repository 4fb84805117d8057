"""The command ``polaron``: one module per verb, imported only when that verb is called.

It declares the options in ``add_arguments`` and does its work in ``run``; the module of several
verbs, ``study``, has a table VERBS of them.
"""
