"""CloudCoin surface: the task API of CloudCoin's programs, in its four generations."""
