"""The script `zo2sim`: one name for all commands. Imports `flags` and the verb that is asked.

`command` is the script, `arguments` reads a command line, `verbs` is the table of what there is,
`unloaded` keeps a help text quick, `completion` is for shells.
"""
