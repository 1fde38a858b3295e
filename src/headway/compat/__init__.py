"""Other task APIs, spoken exactly: their clients work with nothing changed but the host.

A surface is words only: their paths and structs, our verbs, our states in their words. It keeps nothing and decides
nothing; what it needs is a feature of the service. Two of them share `/api/v1`. Static paths come before parameters, so `/api/v1/tasks/status` is Tadabase's and
`/api/v1/tasks/0199…` CloudCoin's, whose ids are UUIDs and whose commands are none of the reserved words.
"""
