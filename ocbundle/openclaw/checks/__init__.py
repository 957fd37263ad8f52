"""What may be wrong after a move, one module for each kind of trouble. Each check looks, and changes nothing."""
