"""The script `zo2sim`: one name for all commands. Imports the verb that is asked.

`command` is the script, `arguments` reads a command line and `flags` what was typed of it, `verbs`
is the table of what there is, `unloaded` keeps a help text quick, `completion` is for shells.
"""
