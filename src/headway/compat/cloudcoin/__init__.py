"""The task API of CloudCoin's programs, in the four generations that there are of it."""
