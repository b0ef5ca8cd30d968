"""How one number is made."""
