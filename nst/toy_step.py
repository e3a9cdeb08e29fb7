"""A step of the training on a toy of a run, and what well-known mistakes in it make of the picture and the costs."""

from nst.backend import tf
from nst.handed import check_image
from nst.mistakes import random_tensor
from nst.settings import Settings


class ToyRun:
    """A run whose network is two small convolutions, for one step at a picture of 6 by 8 pixels.

    Attributes:
        settings: Settings with weights that no notebook has. start: what the picture begins as, float32, shape
            (1, 6, 8, 3). a_C, a_S: as the training hands them over.
    """

    def __init__(self, right):
        layers = [("block1_conv1", 0.7)]
        self.settings = Settings(ALPHA=3.0, BETA=700.0, SMOOTHNESS=2.0, COLOUR_SMOOTHNESS=5.0, STYLE_LAYERS=layers)
        self._kernels = [random_tensor(3, 3, 3, 4) - 1.0, random_tensor(3, 3, 4, 5) - 1.0]
        self.start = tf.clip_by_value(random_tensor(1, 6, 8, 3, seed=2) * 0.7 - 0.2, 0.0, 1.0)  # some at the bounds
        self.a_C = self.look(random_tensor(1, 6, 8, 3, seed=3) / 2.0)[-1:]
        style = self.look(random_tensor(1, 7, 9, 3, seed=4) / 2.0)
        self.a_S = [right["mean_gram_matrix"](style[0]), style[1]]

    def look(self, image):
        """Return the activations of two layers, as Run.look does."""
        check_image(image)  # of another rank, a convolution ends the process
        first = tf.nn.relu(tf.nn.conv2d(image, self._kernels[0], 1, "SAME"))
        return [first, tf.nn.relu(tf.nn.conv2d(first, self._kernels[1], 2, "SAME"))]


def step_mistakes(right, run, rate, notebook):
    """Return what known mistakes in train_step make of the picture and of the costs.

    Args:
        right: dict of the lesson's functions. run: ToyRun. rate: of gradient descent. notebook: dict of the settings in
            the student's notebook, which are not those of the run.

    Returns:
        (dict of message to list of pictures, dict of message to list of values of J, list of J, J_content, J_style).
    """
    x, mine = tf.Variable(run.start), run.settings
    with tf.GradientTape(persistent=True) as tape:
        a_G = run.look(x)
        J_content = right["compute_content_cost"](run.a_C, a_G)
        J_style = right["compute_style_cost"](run.a_S, a_G, mine.STYLE_LAYERS)
        J = right["total_cost"](J_content, J_style, mine.ALPHA, mine.BETA)
        J_tv = right["compute_smoothness_cost"](x)
        J_tv_colour = right["compute_smoothness_cost"](right["nst_utils"].colour(x))
        smooth, smooth_colour = mine.SMOOTHNESS * J_tv, mine.COLOUR_SMOOTHNESS * J_tv_colour
        objective = J + smooth + smooth_colour
        weights = [notebook.get(name, 0.0) for name in ("SMOOTHNESS", "COLOUR_SMOOTHNESS")]
        of_notebook = weights[0] * J_tv + weights[1] * J_tv_colour

    def moved(*costs, sign=1.0):
        gradient = tf.add_n([tape.gradient(cost, x) for cost in costs])
        return tf.clip_by_value(run.start - sign * rate * gradient, 0.0, 1.0)

    pictures = {
        "It climbs: a step goes against the gradient.": [moved(objective, sign=-1.0)],
        "It follows the gradient of J alone. The objective has two smoothness costs besides.": [moved(J)],
        "One of the two smoothness costs is missing from the objective.": [moved(J, smooth), moved(J, smooth_colour)],
        "It follows the smoothness costs alone: run.look and the costs of what it sees must stand within the tape.": [
            moved(smooth, smooth_colour)
        ],
        "The smoothness costs are not weighted.": [moved(J, J_tv, J_tv_colour)],
        "SMOOTHNESS and COLOUR_SMOOTHNESS are the notebook's. Those of the run are in run.settings.": [
            moved(J, of_notebook)
        ],
        "It follows the gradient of one cost alone, not of the objective.": [moved(J_style), moved(J_content)],
    }
    total, weights = right["total_cost"], [notebook.get(name, 0.0) for name in ("ALPHA", "BETA")]
    costs = {
        "ALPHA and BETA of run.settings are not handed to total_cost, which takes the course's then.": [
            total(J_content, J_style)
        ],
        "ALPHA and BETA are the notebook's. Those of the run are in run.settings.": [
            total(J_content, J_style, *weights)
        ],
        "ALPHA and BETA, or J_content and J_style, are exchanged.": [total(J_style, J_content, mine.ALPHA, mine.BETA)],
        "J is the objective. What is recorded as J is equation (5), without smoothness costs.": [objective],
    }
    return pictures, costs, [J, J_content, J_style]
