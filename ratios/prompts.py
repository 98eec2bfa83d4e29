"""The prompts that a calibration runs on where nobody gives others."""

from __future__ import annotations

#: Varied on purpose: portrait, animal, food, place, night, drawing, 3d, motion, comic, macro.
DEFAULT_PROMPTS = """\
a portrait photo of an old fisherman, weathered skin, soft window light
a red fox walking through deep snow at sunrise
a bowl of ramen on a wooden table, steam rising, top view
a medieval castle on a cliff above the sea, oil painting
a neon street in Tokyo at night in the rain, reflections on wet asphalt
a watercolor of wild flowers in a glass vase, white background
an isometric 3d render of a small cozy bookshop
a woman dancing in a yellow dress, motion blur, studio photo
an astronaut reading a newspaper on the moon, comic style
a macro photo of a dew drop on a green leaf, shallow depth of field
"""
