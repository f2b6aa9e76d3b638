"""The script `zo2sim`: one name for all commands. Imports `arguments` and the verb that is asked.

`command` is the script, `verbs` the table of what there is, `unloaded` keeps a help text quick,
`completion` is for shells.
"""
