"""Names of the 52 blendshapes that a row holds, and columns that follow from them.

A blendshape says how far a face is from rest in one respect, 0 to 1, as Apple's ARKit and Google's
MediaPipe define them. Left and right are the person's own: ``mouth_smile_left`` is at the right
of the picture.
"""

from __future__ import annotations

BLENDSHAPES = (
    "neutral",
    "brow_down_left",
    "brow_down_right",
    "brow_inner_up",
    "brow_outer_up_left",
    "brow_outer_up_right",
    "cheek_puff",
    "cheek_squint_left",
    "cheek_squint_right",
    "eye_blink_left",
    "eye_blink_right",
    "eye_look_down_left",
    "eye_look_down_right",
    "eye_look_in_left",
    "eye_look_in_right",
    "eye_look_out_left",
    "eye_look_out_right",
    "eye_look_up_left",
    "eye_look_up_right",
    "eye_squint_left",
    "eye_squint_right",
    "eye_wide_left",
    "eye_wide_right",
    "jaw_forward",
    "jaw_left",
    "jaw_open",
    "jaw_right",
    "mouth_close",
    "mouth_dimple_left",
    "mouth_dimple_right",
    "mouth_frown_left",
    "mouth_frown_right",
    "mouth_funnel",
    "mouth_left",
    "mouth_lower_down_left",
    "mouth_lower_down_right",
    "mouth_press_left",
    "mouth_press_right",
    "mouth_pucker",
    "mouth_right",
    "mouth_roll_lower",
    "mouth_roll_upper",
    "mouth_shrug_lower",
    "mouth_shrug_upper",
    "mouth_smile_left",
    "mouth_smile_right",
    "mouth_stretch_left",
    "mouth_stretch_right",
    "mouth_upper_up_left",
    "mouth_upper_up_right",
    "nose_sneer_left",
    "nose_sneer_right",
)
"""In the order of a row's `blendshapes`."""

DERIVED = {
    "smile": "(mouth_smile_left + mouth_smile_right) / 2",
    "eyes_closed": "(eye_blink_left + eye_blink_right) / 2",
    "mouth_open": "jaw_open",
}
"""Further columns of the view ``faces``, in SQL."""
