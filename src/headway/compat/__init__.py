"""Compatible surfaces: task APIs of other products, whose clients work after a change of the host alone.

A surface translates only: paths and structs of the other API, verbs of the service, and states in the other API's terms.
It has no state and takes no decisions; a rule that it needs is a feature of the service. Two surfaces share `/api/v1`.
Static paths come before parameters, so `/api/v1/tasks/status` is Tadabase's and `/api/v1/tasks/0199…` CloudCoin's, whose
ids are UUIDs and whose commands are none of the reserved words.
"""
