"""The command ``polaron``: one module per verb, imported only when that verb is called."""
