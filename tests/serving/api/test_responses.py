import numpy as np
import onnxruntime

from clustnet.bundles.bundle import MIXTURE
from clustnet.bundles.predictor import Predictor
from serving.api.responses import Model, PredictImageResponse, predictions_of
from tests.synthetic import THRESHOLD


def test_predictions_say_what_the_graph_says(predictor: Predictor) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28)).astype(np.uint8)
    session = onnxruntime.InferenceSession(predictor.bundle.path(MIXTURE), providers=["CPUExecutionProvider"])
    names = ["positive_probability", "routing", "class_probability", "confidence"]
    positive, routing, classes, confidence = session.run(names, {"image": images})

    predictions = predictions_of(predictor.predict(images), predictor.manifest)

    assert len(predictions) == 8
    for i, prediction in enumerate(predictions):
        assert prediction.binary.label == ("5-9" if positive[i] > 0.5 else "0-4")
        np.testing.assert_allclose(prediction.binary.probability, max(positive[i], 1 - positive[i]), rtol=1e-6)
        np.testing.assert_allclose(prediction.routing, routing[i], rtol=1e-6)
        assert prediction.expert == routing[i].argmax()
        assert prediction.guess.label == str(classes[i].argmax())
        np.testing.assert_allclose(prediction.guess.probability, classes[i].max(), rtol=1e-6)
        np.testing.assert_allclose(prediction.class_probabilities, classes[i], rtol=1e-6)
        np.testing.assert_allclose(prediction.confidence, confidence[i], rtol=1e-6)
        assert prediction.abstain == (confidence[i] < THRESHOLD)
    assert {prediction.abstain for prediction in predictions} == {True, False}


def test_a_colour_image_is_shown_as_it_was_prepared(predictor: Predictor) -> None:
    (prediction,) = predictions_of(predictor.predict(np.zeros((1, 28, 28), np.uint8)), predictor.manifest)
    prepared = np.arange(12).reshape(2, 2, 3).tolist()
    answer = PredictImageResponse(model=Model(name="colour", version="1"), prediction=prediction, prepared=prepared)
    assert answer.model_dump()["prepared"] == prepared
