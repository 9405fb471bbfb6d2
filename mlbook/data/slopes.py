"""A cart that carries a pole up and down slopes: many of them at once in torch, and each of them in MuJoCo."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from mlbook.episodes import generator_of, send, whole

G, CART, HALF = 9.81, 1.0, 0.5  # m/s²; kg; half the pole's length, m
ROLLING, HINGE = 0.1, 0.01  # friction of the wheels, N s/m, and of the hinge, N m s
DT = 0.02  # s between two actions: 50 a second
FALLEN = math.pi / 3  # rad from upright: from here no motor brings the pole back

# Slope, mass and motor are written in by `MuJoCoCart`; what touches nothing needs no contacts.
MJCF = f"""
<mujoco model="a cart with a pole on a slope">
  <compiler angle="radian"/>
  <option timestep="0.002" integrator="RK4" gravity="0 0 -{G}"><flag contact="disable"/></option>
  <worldbody>
    <body name="slope">
      <geom type="box" size="6 0.3 0.01" pos="0 0 -0.06" mass="0"/>
      <body name="cart">
        <joint name="rail" type="slide" axis="1 0 0" damping="{ROLLING}"/>
        <geom type="box" size="0.15 0.1 0.05" mass="{CART}"/>
        <body name="pole">
          <joint name="hinge" type="hinge" axis="0 1 0" damping="{HINGE}"/>
          <inertial pos="0 0 {HALF}" mass="1" diaginertia="1 1 1"/>
          <geom type="capsule" size="0.02" fromto="0 0 0 0 0 {2 * HALF}" mass="0"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="motor" joint="rail" gear="1" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


class Slopes:
    """An endless, reproducible source of carts: `slopes[k]` is batch number k, what each is like and where it starts.

    The first tensor is `[T, 3]`: the slope α in radians, uphill if positive, the mass of the pole in kg, and the
    motor's strength in N. The second, `[T, 4]`, is a state at the start: up to 1 m from the mark and 0.15 rad from
    upright, at up to 0.2 m/s and 0.2 rad/s. All numbers are uniform.

    Args:
        tasks: T.
        slope: The least and largest, degrees.
        mass: Of the pole, kg.
        strength: The force of the motor at full power, N.
        seed: Any whole number; batch k of a seed is always the same, on every device.

    Raises:
        ValueError: If a range is none, a slope is 45 degrees or steeper, or a mass or a strength not above 0.
    """

    def __init__(
        self, tasks: int = 64, slope: tuple[float, float] = (-10.0, 10.0), mass: tuple[float, float] = (0.1, 1.0),
        strength: tuple[float, float] = (6.0, 14.0), seed: int = 0,
    ) -> None:  # fmt: skip
        for name, (low, high), least, most in (
            ("slope", slope, -45.0, 45.0),
            ("mass", mass, 0.0, math.inf),
            ("strength", strength, 0.0, math.inf),
        ):
            if not least < low <= high < most:
                between = "above 0" if least == 0 else f"between {least:g} and {most:g}"
                raise ValueError(
                    f"{name}=({low}, {high}): give the smaller number first, both {between}"
                )
        self.tasks, self.seed = whole("tasks", tasks, 1), whole("seed", seed)
        self.slope, self.mass, self.strength = slope, mass, strength
        self.device: torch.device | str = "cpu"

    @property
    def fingerprint(self) -> str:
        """What the carts depend on, in words; two sources of one fingerprint give the same."""
        return (
            f"Slopes(tasks={self.tasks}, slope={self.slope}, mass={self.mass}, "
            f"strength={self.strength}, seed={self.seed})"
        )

    def to(self, device: torch.device | str) -> Slopes:
        """The same carts on `device`."""
        there = copy.copy(self)
        there.device = device
        return there

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        """What the carts are like, `[T, 3]`, and their states at the start, `[T, 4]`."""
        u = torch.rand(self.tasks, 7, generator=generator_of(self.seed, k))
        low, high = torch.tensor([self.slope, self.mass, self.strength]).T
        task = low + (high - low) * u[:, :3]
        task[:, 0] *= math.pi / 180
        start = (2 * u[:, 3:] - 1) * torch.tensor([1.0, 0.2, 0.15, 0.2])
        start[:, 2] += task[:, 0]  # upright is where the slope says
        return send(task, self.device), send(start, self.device)


def acceleration(
    state: Tensor, force: Tensor, task: Tensor, friction: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""How cart and pole speed up, in m/s² along the slope and in rad/s², `[T]` each.

    Lagrange's equations of a cart of mass M on a slope α that carries a rod of mass m and length 2l, the angle θ
    taken from the slope's normal, uphill positive::

        (M + m) x'' + m l cos θ θ''   =  F - b x' + m l sin θ θ'² - (M + m) g sin α
        m l cos θ x'' + 4/3 m l² θ''  =  m g l sin(θ - α) - d θ'

    Args:
        state: x from the mark, x', θ, θ', `[T, 4]`, in m, m/s, rad and rad/s.
        force: F on the cart, N, `[T]`.
        task: α in rad, m in kg and the motor's strength, which is not used here, `[T, 3]`.
        friction: Both frictions, b and d, times this.

    Source: Barto, Sutton & Anderson (1983), appendix, with viscous friction and a slope.
    """
    _, v, angle, turn = state.unbind(-1)
    slope, m, _ = task.unbind(-1)
    sin, cos = angle.sin(), angle.cos()
    total, arm = CART + m, m * HALF
    push = force - friction * ROLLING * v + arm * sin * turn.square() - total * G * slope.sin()
    lean = arm * G * (angle - slope).sin() - friction * HINGE * turn
    J = 4 / 3 * HALF * arm
    across = arm * cos
    determinant = total * J - across.square()
    return (J * push - across * lean) / determinant, (total * lean - across * push) / determinant


def step(state: Tensor, action: Tensor, task: Tensor, substeps: int = 1) -> Tensor:
    """The states `[T, 4]` one action, DT = 0.02 seconds, later; differentiable in all that comes in.

    Args:
        state: As in `acceleration`.
        action: `[T]`, in shares of the motor's strength; beyond -1 and 1 it gives no more.
        task: `[T, 3]`, slope, mass and strength.
        substeps: Semi-implicit Euler steps in that time (positions move by the new speeds), as MuJoCo's `Euler` does.
    """
    h = DT / substeps
    force = task[..., 2] * action.clamp(-1, 1)
    for _ in range(substeps):
        speeds = state[..., 1::2] + h * torch.stack(acceleration(state, force, task), -1)
        places = state[..., ::2] + h * speeds
        state = torch.stack([places, speeds], -1).flatten(-2)
    return state


def cost(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """x² + 0.1 x'² + (θ - α)² + 0.1 θ'² + 0.01 u², at most 4, of states `[..., T, 4]` and actions u `[..., T]`.

    What has fallen costs 4 and no gradient: there is nothing to be learned from how it tumbles.
    """
    x, v, angle, turn = state[..., :4].unbind(-1)
    lean = angle - task[..., 0]
    return (x**2 + 0.1 * v**2 + lean**2 + 0.1 * turn**2 + 0.01 * action**2).clamp(max=4)


def energy(state: Tensor, task: Tensor) -> Tensor:
    """Kinetic and potential energy of cart and pole, J, `[T]`."""
    x, v, angle, turn = state.unbind(-1)
    slope, m, _ = task.unbind(-1)
    moving = (CART + m) * v**2 / 2 + m * HALF * angle.cos() * v * turn + 2 / 3 * m * HALF**2 * turn**2  # fmt: skip
    return moving + (CART + m) * G * x * slope.sin() + m * G * HALF * (angle - slope).cos()


class MuJoCoCart:
    """One of the carts in MuJoCo, another's physics engine: `state` `[4]` as above, moved by `step`.

    Args:
        task: Slope in rad, mass in kg and strength in N, `[3]`.
        start: `[4]`.
        timestep: Of the engine, s; DT has to be a whole number of these.
        integrator: `"RK4"` or `"Euler"`, which is made fully explicit in the friction, as `step` above is.

    Raises:
        ModuleNotFoundError: If `mujoco` is not installed; the message says how to get it.
        ValueError: If DT is not a whole number of time steps.

    Source: Todorov, Erez & Tassa (2012).
    """

    def __init__(
        self, task: Tensor, start: Tensor, timestep: float = 0.002, integrator: str = "RK4"
    ) -> None:
        try:
            import mujoco
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'the robot is simulated by mujoco, which is not installed: pip install "mlbook[applications]"'
            ) from error
        self.substeps = round(DT / timestep)
        if abs(self.substeps * timestep - DT) > 1e-9:
            raise ValueError(f"timestep={timestep}: {DT} s must be a whole number of these, such as 0.002")  # fmt: skip
        self.mujoco, self.model = mujoco, mujoco.MjModel.from_xml_string(MJCF)
        options, _, m = self.model.opt, *task.tolist()[:2]
        options.timestep = timestep
        options.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{integrator.upper()}")
        options.disableflags |= mujoco.mjtDisableBit.mjDSBL_EULERDAMP
        pole = self.model.body("pole").id
        self.model.body_mass[pole] = m
        self.model.body_inertia[pole] = m * HALF**2 / 3
        self.data: Any = mujoco.MjData(self.model)
        mujoco.mj_setConst(self.model, self.data)
        self.task = task
        self.state = start

    @property
    def task(self) -> Tensor:
        """Slope, mass and strength, `[3]`; a slope or strength that is set here holds from the next step on."""
        return self._task

    @task.setter
    def task(self, task: Tensor) -> None:
        self._task = task.clone()
        slope, _, strength = task.tolist()
        # turned about y, the direction that is neither up nor along the slope
        self.model.body("slope").quat[:] = [math.cos(slope / 2), 0, -math.sin(slope / 2), 0]
        self.model.actuator("motor").gear[0] = strength

    @property
    def state(self) -> Tensor:
        """x, x', θ, θ', `[4]`; it can be set, too."""
        (x, angle), (v, turn) = self.data.qpos, self.data.qvel
        return torch.tensor([x, v, angle, turn], dtype=torch.float64)

    @state.setter
    def state(self, state: Tensor) -> None:
        x, v, angle, turn = state.tolist()
        self.data.qpos[:], self.data.qvel[:] = [x, angle], [v, turn]

    def step(self, action: float) -> Tensor:
        """The state `[4]` after DT seconds of `action`, a share of the motor's strength; MuJoCo cuts it at -1 and 1."""
        self.data.ctrl[0] = action
        self.mujoco.mj_step(self.model, self.data, nstep=self.substeps)
        return self.state
