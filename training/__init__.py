"""How every embedded weight of Rudder was made, from packages alone."""
