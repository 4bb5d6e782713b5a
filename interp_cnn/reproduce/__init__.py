"""The paper's tables: tables -> plan -> execute -> figures -> write, and the estimate of a plan."""
