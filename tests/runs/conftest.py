from tests.running import *  # all of them: the fixtures use each other
