"""How people walk: what is theirs alone (`Gait`), and trunk, head, legs and arms at any phase of a stride.

Angles follow published normal data: walking Winter 1991 (The Biomechanics and Motor Control of Human Gait, natural
cadence), jogging Novacheck 1998 (The biomechanics of running), pelvis, arms and rate Perry & Burnfield 2010 (Gait
Analysis). Phase 0 is the left heel strike, 0.5 the right one.
"""

import math
from dataclasses import dataclass

import numpy as np

from synth.arms import swing_arm
from synth.body import NUM_JOINTS
from synth.legs import Legs, place_leg
from synth.rotation import (
    IDENTITY,
    PELVIS,
    Quaternion,
    about_x,
    about_y,
    about_z,
    bend_spine,
    chain,
    turn_head,
)

# Fourier coefficients in degrees, harmonics 0..5 of cos then 1..5 of sin of the phase, for hip flexion, knee flexion
# and ankle dorsiflexion. Fitted to the published curves' key values; residuals below 0.5 (walk) and 0.8 (jog) degrees.
WALK_CURVES = np.array([
    [6.7, 15.8, -2.4, -0.6, -0.3, -0.2, -3.0, -1.8, 1.0, 0.1, 0.1],
    [25.7, -4.0, -14.9, -1.8, -1.0, -0.4, -20.6, 8.0, 4.3, 1.0, 0.5],
    [-0.8, -0.2, 1.5, -3.2, 1.8, -0.3, 7.8, -7.3, 0.7, -0.5, -0.8],
])  # fmt: skip
JOG_CURVES = np.array([
    [17.6, 20.9, -4.9, -0.8, -0.6, -0.3, -16.0, 3.2, -0.0, 0.5, -0.2],
    [46.3, -14.2, -12.5, -3.4, -0.3, -0.2, -23.5, 17.2, -0.3, 2.5, -0.3],
    [1.1, 13.2, -7.6, -2.8, 0.8, -0.3, 3.5, 6.7, -3.4, -0.6, 0.2],
])  # fmt: skip
HARMONICS = np.arange(1, 6)
# The thigh swings about this angle; its range grows with the stride.
HIP_CENTRE_RAD = 0.09
STRIDE_TO_HIP = 0.95
TOE_CLEARANCE_RAD = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Gait:
    """How one person walks and holds themselves: drawn once per identity, the same in front of every camera.

    cadence_hz: strides (two steps) per second, for whoever turns time into phase. stride_m: heel strike to the same
    foot's next, on legs of the mean body's length, longer legs stride further. step_width_m: between the ankles.
    knee_lift: factor on the swing's knee flexion. toe_out_rad: outwards. arm_swing_rad: half the swing. arm_out_rad:
    upper arm off the trunk. elbow_bend_rad: least flexion. asymmetry: relative, > 0 favours the left side.
    pelvis_yaw_rad, pelvis_list_rad: amplitudes about the vertical and the walking direction. pelvis_tilt_rad,
    trunk_lean_rad, head_pitch_rad: forwards. head_yaw_rad: towards the left. The pelvis bobs by itself, as the feet
    stay on the ground (`stand_on_ground`).
    """

    cadence_hz: float = 0.92
    stride_m: float = 1.3
    step_width_m: float = 0.11
    knee_lift: float = 1.0
    toe_out_rad: float = 0.12
    arm_swing_rad: float = 0.32
    arm_out_rad: float = 0.25
    elbow_bend_rad: float = 0.25
    asymmetry: float = 0.0
    pelvis_yaw_rad: float = 0.08
    pelvis_list_rad: float = 0.05
    pelvis_tilt_rad: float = 0.03
    trunk_lean_rad: float = 0.05
    head_pitch_rad: float = 0.05
    head_yaw_rad: float = 0.0


def sample_gait(rng: np.random.Generator) -> Gait:
    """The gait of one adult. Spreads after Perry & Burnfield 2010, bounded so that every draw is a possible person."""

    def normal(mean: float, deviation: float) -> float:
        return mean + deviation * min(max(rng.standard_normal(), -2.0), 2.0)

    cadence_hz = normal(0.92, 0.06)
    return Gait(
        cadence_hz=cadence_hz,
        # Who steps fast steps far.
        stride_m=normal(1.27, 0.08) + 0.5 * (cadence_hz - 0.92),
        step_width_m=normal(0.11, 0.02),
        knee_lift=normal(1.0, 0.05),
        toe_out_rad=normal(0.12, 0.07),
        arm_swing_rad=normal(0.30, 0.09),
        arm_out_rad=normal(0.25, 0.015),
        elbow_bend_rad=normal(0.28, 0.08),
        asymmetry=normal(0.0, 0.03),
        pelvis_yaw_rad=normal(0.08, 0.02),
        pelvis_list_rad=normal(0.045, 0.015),
        pelvis_tilt_rad=normal(0.03, 0.03),
        trunk_lean_rad=normal(0.05, 0.04),
        head_pitch_rad=normal(0.08, 0.08),
        head_yaw_rad=normal(0.0, 0.05),
    )


def stride(gait: Gait, phase: float, legs: Legs, *, jogging: bool) -> list[Quaternion]:
    """Trunk, head and legs, 24 joints, at phase (any real, period 1) of a stride; the arms stay in the T-pose."""
    turn = 2 * math.pi * phase
    lean = gait.trunk_lean_rad + (0.12 if jogging else 0.0)
    # The pelvis goes with the leading leg and sinks on the side of the swinging one; the shoulders go against it.
    yaw, roll = -gait.pelvis_yaw_rad * math.cos(turn), gait.pelvis_list_rad * math.sin(turn)
    joints = [IDENTITY] * NUM_JOINTS
    joints[PELVIS] = chain(about_y(yaw), about_z(roll), about_x(gait.pelvis_tilt_rad))
    thorax_yaw = -0.9 * yaw * (1.5 if jogging else 1.0)
    bend_spine(joints, pitch=lean - gait.pelvis_tilt_rad, yaw=thorax_yaw - yaw, roll=-0.8 * roll)
    turn_head(joints, pitch=gait.head_pitch_rad - lean, yaw=gait.head_yaw_rad - thorax_yaw, roll=-0.2 * roll)
    for side in (0, 1):
        own = (phase + 0.5 * side) % 1.0
        favour = 1.0 + gait.asymmetry * (1 - 2 * side)
        hip, knee, ankle = _leg_angles(own, jogging=jogging)
        hip_scale = favour * (1.0 if jogging else gait.stride_m * STRIDE_TO_HIP)
        hip = HIP_CENTRE_RAD + hip_scale * (hip - HIP_CENTRE_RAD)
        swing = _bump(own, 0.5, 0.72, 0.98)
        knee *= 1.0 + swing * (gait.knee_lift - 1.0)
        # Toes up through the swing: a pelvis that bobs less than the measured one would let them scrape.
        pitch = knee - hip - ankle - TOE_CLEARANCE_RAD * _bump(own, 0.64, 0.82, 1.0)
        flat = _window(own, 0.02, 0.10, 0.24, 0.32) if jogging else _window(own, 0.02, 0.09, 0.40, 0.58)
        place_leg(
            joints,
            side,
            legs,
            ankle_x_m=gait.step_width_m * (0.3 if jogging else 0.5),
            toe_out=gait.toe_out_rad,
            hip=hip,
            knee=knee,
            foot_pitch=pitch * (1.0 - flat),
            toes=0.5 * _bump(own, 0.22, 0.36, 0.46) if jogging else 0.55 * _bump(own, 0.40, 0.57, 0.68),
        )
    return joints


def _leg_angles(phase: float, *, jogging: bool) -> tuple[float, float, float]:
    """Hip flexion, knee flexion and ankle dorsiflexion, radians, at phase of the leg's own stride."""
    turns = 2 * math.pi * phase * HARMONICS
    basis = np.concatenate([[1.0], np.cos(turns), np.sin(turns)])
    hip, knee, ankle = ((JOG_CURVES if jogging else WALK_CURVES) @ basis).tolist()
    return math.radians(hip), math.radians(knee), math.radians(ankle)


def swing_freely(joints: list[Quaternion], gait: Gait, phase: float, side: int, *, jogging: bool) -> None:
    """The arm's own swing, smaller on the side that the gait favours."""
    swing_arm(
        joints,
        side,
        phase,
        swing_rad=gait.arm_swing_rad * (1.0 - 4.0 * gait.asymmetry * (1 - 2 * side)),
        outward_rad=gait.arm_out_rad,
        bend_rad=gait.elbow_bend_rad,
        jogging=jogging,
    )


def _window(phase: float, rise: float, full: float, fade: float, end: float) -> float:
    """0 outside (rise, end), 1 in [full, fade], smooth between."""
    up, down = (phase - rise) / (full - rise), (end - phase) / (end - fade)
    x = min(max(min(up, down), 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _bump(phase: float, start: float, peak: float, end: float) -> float:
    return _window(phase, start, peak, peak, end)
