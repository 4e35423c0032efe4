"""`whitebox report`: docs/RESULTS.md and its pictures, from the cards of measurements alone.

`cards` reads them; `measured`, `paper_numbers` and `network_parts` turn them into sections; `curves` and
`mosaics` draw; `document` puts the page together, writes it, and tells whether it is up to date.
"""
