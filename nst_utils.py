"""The helpers of the neural style transfer tutorial, in the order in which the lessons use them.

What they teach (the costs, the Gram matrix, the training step) stands in the notebooks; here are their helpers.
Images are float32 RGB in [0, 1] with shape (1, H, W, 3) everywhere.
"""

from nst.errors import ImageError, NSTError, RunError, SettingsError, WeightsError  # what can go wrong, in plain words
from nst.settings import read_settings  # the settings as they are, or as NST_ variables have them
from nst.table import SETTINGS, choice, share, text, weight, whole_number  # the table, and lines of it
from nst.images import load_image  # a picture as a tensor, its long side so many pixels
from nst.sources import load_style_images  # the style image, or several
from nst.plots import show_images  # images side by side
from nst.images import preprocess_image  # what VGG19 was trained on: BGR, 0-255, mean colour subtracted
from nst.vgg19 import load_vgg19  # the weights, with mean activations of one
from nst.vgg19 import choose_precision  # float32, or bfloat16 where that is faster
from nst.vgg19 import get_layer_outputs  # the network up to the layers that you ask for
from nst.plots import show_channels  # what single channels answer to a picture
from nst.images import differences  # how much each pixel differs from its neighbours
from nst.colours import colour  # a picture without its light and dark
from nst.runs import Run  # a run of the training: sizes, epochs, records, live view
from nst.plots import plot_costs  # the costs over the epochs
from nst.plots import show_snapshots  # the picture as it grew
from nst.matrices import show_gram_matrices  # Gram matrices as pictures
from nst.sizes import plan_sizes  # from coarse to fine: the sizes and their epochs
from nst.exhibition import show_runs  # the last runs side by side, with the settings in which they differ

# what exercise.ipynb uses besides
from nst.errors import CheckError  # a function that is not right yet
from nst.checks import check  # whether a function is right, or which mistake is in it

# what nearest_neighbours.ipynb uses besides
from nst.layers import LAYER_NAMES  # of VGG19's convolutions
from nst.tiles import look  # what a network sees in an image, without a run
from nst.rows import mean_over_rows  # of a cost: some thousand rows at a time, so that it needs less memory
from nst.plots import show_grid, show_points  # pictures in rows and columns, clouds in the plane
from nst.sizes import choose_sizes  # from coarse to fine, by a factor

# what going_further.ipynb uses besides
from nst.compare import compare  # a picture with other settings, side by side
from nst.replay import paint  # a single picture, with a lesson's cells and your settings
from nst.exhibition import animate  # how it was painted, as a moving picture
from nst.panel import Panel  # sliders and buttons
