# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tour of the white box
#
# One digit: what the network says, why, how it can be fooled, what is proved, and what it does with a
# picture that is no digit.
# `pip install "whitebox-serving[attack,plot]"` is all this needs; it takes a few seconds and no server.

# %%
# %matplotlib inline
import numpy as np
from PIL import Image, ImageDraw

import whitebox

model = whitebox.load("mnist-10")
model

# %% [markdown]
# ## What does it say?
#
# A file goes through the model's preprocessing; this one already looks like MNIST's digits.

# %%
model.predict("five.png")

# %% [markdown]
# ## Why?
#
# The figure *is* the computation: the maps of the layers, and the bars that add up to the logits.

# %%
explanation = model.explain("five.png")
explanation

# %% [markdown]
# Three sums, over shapes, over pixels of the bright map and over pixels of the two-step map, all end at the
# logits.

# %%
logits = np.array(list(explanation.prediction.logits.values()))
for name in ("contributions", "attribution_bright", "attribution_two_step"):
    sums = getattr(explanation, name).reshape(len(logits), -1).sum(axis=1)
    print(f"{name:22} differs from the logits by at most {np.abs(sums - logits).max():.0e}")

# %% [markdown]
# ## How can it be fooled?
#
# Projected gradient descent looks for a similar image that is taken for another digit. No pixel may change
# by more than epsilon.

# %%
outcome = model.attack("five.png", "pgd", epsilon=0.3)
outcome.plot()

# %% [markdown]
# ## What is proved?
#
# `certified` means that *no* image within epsilon gets another answer, whoever attacks. The certified
# radius is the largest such epsilon; between it and the attack above nobody knows. `mnist-10-certified`
# was trained for such proofs.

# %%
for each in (model, whitebox.load("mnist-10-certified")):
    certificate = each.certify("five.png", epsilon=0.02, radius=True)
    print(f"{each.package.name:18} {certificate}, and up to {certificate.certified_radius:.3f}")

# %% [markdown]
# ## And what is no digit?
#
# The network has no word for a house, so it answers with a digit. Its *typicality* tells that the image is
# unlike what it was trained on.

# %%
house = Image.new("L", (28, 28))
draw = ImageDraw.Draw(house)
draw.polygon([(4, 13), (14, 4), (24, 13)], outline=255)
draw.rectangle([(7, 13), (21, 24)], outline=255)
draw.rectangle([(12, 18), (16, 24)], outline=255)

prediction = model.predict(np.asarray(house) / 255)
prediction

# %%
prediction.typicality
