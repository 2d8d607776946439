"""`swell doctor`: checks of the server, of the programs of this machine, and of the way between them."""
