"""The two jobs: train the networks of a configuration, and evaluate them."""



