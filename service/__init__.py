"""How the network is asked: a REST service over exported model packages. Never imports torch."""
