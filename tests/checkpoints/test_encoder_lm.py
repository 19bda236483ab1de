from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    BloomConfig,
    BloomModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from spacy_padellm.checkpoints.encoder_lm import END, add_wording, build_encoder_lm
from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.checkpoints.saving import save_checkpoint
from spacy_padellm.prompt.template import PromptTemplate
from spacy_padellm.settings import Settings
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_tokenizers import make_encoder
from tests.tiny_models import prefix_lm_logits

TEMPLATE = PromptTemplate(
    "[CLS]{text}[SEP]{label}<num>",
    count_end="<mentions>",
    capitalized="<capitalized>",
    all_capitals="<capitals>",
)
NEW = ["<num>", "<mentions>", "<capitalized>", "<capitals>", END]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "person", "paris", "in", "##s", *"123"]


def tokenizer(unused: int) -> PreTrainedTokenizerFast:
    """As BERT's, with some entries for tokens to come."""
    words = [WORDS[0], *(f"[unused{n}]" for n in range(unused)), *WORDS[1:]]
    fast = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    fast.normalizer = normalizers.BertNormalizer(lowercase=True)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece()
    names = {f"{name.strip('[]').lower()}_token": name for name in WORDS[:5]}
    return PreTrainedTokenizerFast(tokenizer_object=fast, **names)


@pytest.fixture(params=[3, 30])
def encoder_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An encoder without a language modelling head, as sentence encoders are."""
    named = tokenizer(request.param)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(named),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
    )
    encoder = BertModel(config)
    with torch.no_grad():
        # As good as the same, as those of a trained encoder are.
        encoder.get_input_embeddings().weight[1 : 1 + request.param] = 0.01
    encoder.save_pretrained(tmp_path)
    named.save_pretrained(tmp_path)
    return tmp_path


def build(folder: Path) -> CausalLM:
    return build_encoder_lm(str(folder), TEMPLATE, 3, bidirectional_prefix=True)


def test_each_piece_of_the_wording_is_a_token(encoder_folder):
    lm = build(encoder_folder)
    encoder = make_encoder(TEMPLATE, {"PER": "person"}, lm.tokenizer, max_mentions=3)
    name = lm.tokenizer.convert_ids_to_tokens
    prefix = ["[CLS]", "<capitalized>", "paris", "in", "<capitals>", "paris"]
    assert name(encoder.encode(TokenizedText.split("Paris in PARIS")).prefix) == prefix
    assert name(encoder.branches["PER"]) == ["[SEP]", "person", "<num>"]
    assert name(encoder.count_ids[2]) == ["2", "<mentions>"]
    assert name(encoder.count_ids[0]) == ["[UNK]", END]
    openers = {n: name(ids) for n, ids in encoder.openers.items()}
    assert openers == {n: [f"<mention {n}>"] for n in (1, 2, 3)}
    assert name(encoder.mentions(["Paris"])[0]) == ["paris", END]


def test_new_layers_begin_as_the_identity(encoder_folder):
    transform = build(encoder_folder).model.cls.predictions.transform
    assert torch.equal(transform.dense.weight, torch.eye(16))


def test_new_tokens_are_embedded_apart_and_openers_like_their_numbers(encoder_folder):
    lm = build(encoder_folder)
    vocab, weights = lm.tokenizer.get_vocab(), lm.model.get_input_embeddings().weight
    for n in (1, 2, 3):
        assert torch.equal(weights[vocab[f"<mention {n}>"]], weights[vocab[str(n)]])
    others = torch.stack([weights[vocab[piece]] for piece in NEW])
    assert torch.pdist(others).min() > 0.1 * others.norm(dim=1).mean()


def test_what_is_there_already_stays_as_it_is(encoder_folder, tmp_path):
    trained = build(encoder_folder)
    trained.model.save_pretrained(tmp_path / "trained")
    trained.tokenizer.save_pretrained(tmp_path / "trained")
    again = build(tmp_path / "trained").model.state_dict()
    assert all(torch.equal(again[name], w) for name, w in trained.model.state_dict().items())


def test_unused_entries_are_used_first(encoder_folder):
    plain = tokenizer(30)
    named = add_wording(plain, TEMPLATE, 3)
    assert len(named) == len(plain)
    new = [*NEW, *(f"<mention {n}>" for n in (1, 2, 3))]
    ids = named.convert_tokens_to_ids(new)
    assert plain.convert_ids_to_tokens(sorted(ids)) == [f"[unused{n}]" for n in range(8)]
    few = tokenizer(3)
    assert len(add_wording(few, TEMPLATE, 3)) == len(few) + 8 - 3
    # Everything else stays what it was.
    for word in WORDS:
        assert named.convert_tokens_to_ids(word) == plain.convert_tokens_to_ids(word)
    assert named.encode("paris in paris", add_special_tokens=False) == plain.encode(
        "paris in paris", add_special_tokens=False
    )


def test_it_reads_a_text_as_the_encoder_does(encoder_folder):
    lm = build(encoder_folder)
    encoder = BertModel.from_pretrained(encoder_folder, add_pooling_layer=False).eval()
    known = lm.tokenizer.convert_tokens_to_ids(["[CLS]", "paris", "in", "paris"])
    with torch.no_grad():
        states = encoder(input_ids=torch.tensor([known])).last_hidden_state
        expected = lm.model.cls(states)[0]
        found = prefix_lm_logits(lm.model, known, len(known))
    assert torch.allclose(found, expected, atol=1e-4)
    head, embeddings = lm.model.get_output_embeddings(), lm.model.get_input_embeddings()
    assert head.weight is embeddings.weight and len(embeddings.weight) == len(lm.tokenizer)


def test_it_is_saved_and_loaded(encoder_folder, tmp_path):
    lm = build(encoder_folder)
    settings = Settings(TEMPLATE, {"PER": "person"}, "bidirectional", "admissible")
    save_checkpoint(tmp_path / "saved", lm, settings)
    loaded = load_causal_lm(str(tmp_path / "saved"), bidirectional_prefix=True)
    ids = [2, 7, 8]
    with torch.no_grad():
        logits = [prefix_lm_logits(each.model, ids, 2) for each in (lm, loaded)]
    assert torch.equal(*logits)
    for each in (lm, loaded):
        encoder = make_encoder(TEMPLATE, {"PER": "person"}, each.tokenizer)
        assert encoder.end_id == lm.tokenizer.convert_tokens_to_ids(END)
        assert encoder.openers[2] == [lm.tokenizer.convert_tokens_to_ids("<mention 2>")]
    assert loaded.support == lm.support


def test_a_vocabulary_that_is_a_list(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁in", "▁Paris", *"▁\nParisn0123"]
    words = list(dict.fromkeys(words))
    unigram = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=1))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    names = {f"{name.strip('[]').lower()}_token": name for name in words[:4]}
    PreTrainedTokenizerFast(tokenizer_object=unigram, **names).save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path)
    template = PromptTemplate("[CLS]{text}[SEP]{label}<num>", count_end="<mentions>")
    lm = build_encoder_lm(str(tmp_path), template, 3, bidirectional_prefix=True)
    encoder = make_encoder(template, {}, lm.tokenizer)
    prefix = encoder.encode(TokenizedText.split("Paris in Paris")).prefix
    tokens = lm.tokenizer.convert_ids_to_tokens(prefix)
    assert tokens[0] == "[CLS]" and "".join(tokens[1:]) == "Paris▁in▁Paris"
    # Number, end of the count, end, three openers.
    assert len(lm.model.get_input_embeddings().weight) == len(lm.tokenizer) == len(words) + 6


def test_positions_counted_from_the_padding(tmp_path):
    config = RobertaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, pad_token_id=1)
    config.num_attention_heads = 2
    RobertaModel(config).save_pretrained(tmp_path)
    tokenizer(3).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"P048.*RobertaForCausalLM"):
        build(tmp_path)


def test_an_encoder_that_is_not_there():
    with pytest.raises(ValueError, match="P042"):
        build(Path("/no/such/folder"))


def test_a_model_without_the_encoders_weights(encoder_folder, tmp_path):
    (encoder_folder / "model.safetensors").unlink()
    BloomModel(BloomConfig(hidden_size=8, n_layer=1, n_head=1)).save_pretrained(tmp_path / "bloom")
    weights = tmp_path / "bloom" / "model.safetensors"
    weights.rename(encoder_folder / "model.safetensors")
    with pytest.raises(ValueError, match="P044"):
        build(encoder_folder)
