"""Train and evaluate: the same as `interp-cnn train`; --help says how."""

from interp_cnn.cli.train import main

if __name__ == "__main__":
    main()
