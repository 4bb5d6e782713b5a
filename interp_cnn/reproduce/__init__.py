"""The paper's tables: request, plan, execute, numbers, layout, write; and what a plan will cost."""
