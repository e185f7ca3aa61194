"""`python -m cloudpulse`."""

from cloudpulse.cli import main

main()
