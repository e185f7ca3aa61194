"""`cloudpulse up`: the whole stack on one machine, as real processes in one terminal."""
