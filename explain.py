"""Explain a prediction: the same as `interp-cnn explain`; --help says how."""

from interp_cnn.cli.explain import main

if __name__ == "__main__":
    main()
