import numpy as np

from clustnet.bundles.answers import Answers, ModelName


def test_names_and_probabilities_follow_the_indices() -> None:
    answers = Answers(
        model=ModelName("made up", "1"),
        coarse_labels=("low", "middle", "high"),
        coarse_probability=np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], np.float32),
        routing=np.array([[0.1, 0.9], [0.7, 0.3]], np.float32),
        class_probability=np.array([[0.4, 0.1, 0.3, 0.2], [0.4, 0.3, 0.2, 0.1]], np.float32),
        guess=np.array([2, 0]),
        confidence=np.ones(2, np.float32),
        abstain=np.zeros(2, bool),
    )
    assert len(answers) == 2
    assert answers.coarse.tolist() == [2, 0]
    assert answers.coarse_label.tolist() == ["high", "low"]
    assert answers.expert.tolist() == [1, 0]
    np.testing.assert_array_equal(answers.guess_probability, np.array([0.3, 0.4], np.float32))
