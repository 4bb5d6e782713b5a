"""Evaluate: the same as `interp-cnn eval`; --help says how."""

from interp_cnn.cli.eval import main

if __name__ == "__main__":
    main()
