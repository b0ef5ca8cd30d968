"""The page that ``metasr page`` shows in a browser: forms and pictures round the functions of ``metasr``."""
