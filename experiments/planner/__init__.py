"""The planner page: what the engine stores for it, the page itself, and the server that it may ask.

Imports `answer` and `case`. `choices` says what is stored, `computers` which there are, with one
card and with several, `machines` what is known of them; `tables` fills it for one model, `packed`
makes it small, `document` makes the page of it, `exact` is the engine's own answer to one position
of the sliders, `server` serves both. The page's scripts and styles are files of `page/`, each read
by `document` and put in as it is.
"""
