"""What the campaign against the server is made of: the server's process, HTTP by hand, and the table of attacks."""
