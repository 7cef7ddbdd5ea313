"""What of a model is not a number: the inputs it reads, when to take it and when not, and the paper it is from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Advice(NamedTuple):
    """One model's line in the table of models, and the two sides of its page."""

    reads: str
    #: In a few words, for the table.
    when: str
    #: Sentences for its page: when it is worth a try, and what speaks against it.
    take: str
    leave: str
    #: Its paper in references.bib; none for what needs no paper.
    cites: str = ""


ADVICE: Mapping[str, Advice] = {
    # sessions
    "atten-mixer": Advice(
        "sessions", "several readings of the last items, without a graph",
        "Intent shows in the last few items together, not in the very last alone. It reads them at several lengths"
        " and builds no graph, so a step is a few matrix products.",
        "Sessions of two items: all of its readings are then nearly one. It knows an item by its ID only, so a new"
        " item has no score worth having.",
        "zhang2023attenmixer",
    ),
    "bert4rec": Advice(
        "sessions", "long sessions whose order matters little; needs many epochs",
        "Sessions are long and there is time for many epochs: every masked item is learned from both of its sides.",
        "Short sessions or a small budget. A mask teaches one item of a step, so it learns from fewer positions than"
        " a model that predicts at each of them.",
        "sun2019bert4rec",
    ),
    "cohhn": Advice(
        "sessions, price, category", "price decides, and no text or image is at hand",
        "Prices and categories are all that is known of the items, and they sway choices. Items of one price level"
        " and category share what they learn.",
        "Without prices and categories: what remains is a mean over sessions that share an item, at the price of a"
        " hypergraph.",
        "zhang2022cohhn",
    ),
    "cotrec": Advice(
        "sessions", "few sessions: two views of them teach each other",
        "There are few sessions and an item's neighbours across sessions say something: one view of the data names"
        " positives and negatives for the other.",
        "Large catalogues: the graph of all items is propagated in every step, and the candidates are ranked again"
        " for every batch.",
        "xia2021cotrec",
    ),
    "dhcn": Advice(
        "sessions", "items that meet in many sessions, whatever their order",
        "Items that go together meet in many sessions and the order of clicks hardly matters: a session is one edge"
        " that joins all of its items.",
        "The last click decides. Every step propagates the whole catalogue, too.",
        "xia2021dhcn",
    ),
    "dimo": Advice(
        "sessions, text, image", "the answer must say whether ID or content spoke",
        "You want a score that falls into two terms, one of the ID and one of text and images, and to weigh them"
        " afterwards or show them as a reason. Items have text or images that people choose by.",
        "Accuracy alone counts: look first at what counts co-occurrence without training. The constraint on all"
        " items makes a step dear on large catalogues; `constraint_items` draws some.",
        "zhang2024dimo",
    ),
    "late-fusion": Advice(
        "sessions, text, image", "a control: two models trained apart, their scores added",
        "You want to know what joint training of ID and content is worth: this is the same two halves without it.",
        "As a product: it is here to be compared with DIMO.",
    ),
    "lessr": Advice(
        "sessions", "the order of clicks matters and sessions are long",
        "Sessions are long, items come back within them, and the order in which one led to another matters.",
        "Most sessions have two or three items: then there are no far items to take a short cut to, and order is"
        " plain.",
        "chen2020lessr",
    ),
    "mmsbr": Advice(
        "text, image, price", "items come and go: it knows none by its ID",
        "Items come and go, and they have text, images and prices: it scores an item that nobody has chosen yet like"
        " any other.",
        "Items stay for long and are chosen together again and again: IDs say that better. It is among the dearest"
        " models here to train.",
        "zhang2023mmsbr",
    ),
    "msgifsr": Advice(
        "sessions", "runs of items, two or three in a row, mean something",
        "Two or three items in a row say more than each of them alone, and customers return to what they saw:"
        " repeats and new items are ranked apart.",
        "Time is short: every level is a graph of its own, so that a step takes longer than a GRU's or a"
        " transformer's of the same width.",
        "guo2022msgifsr",
    ),
    "narm": Advice(
        "sessions", "a small neural baseline with an order",
        "You need a small, well-known model that reads sessions in their order.",
        "There are few sessions for every item: it has a row to learn for each, where counts of co-occurrence need"
        " no training.",
        "li2017narm",
    ),
    "one-hop": Advice(
        "sessions", "first of all: counts in a second, hard to beat, explains itself",
        "First of all, on any data: it is one sparse matrix of counts, made anew in a second when sessions arrive,"
        " and each score names the items it comes from.",
        "Most items are new or rare: what never met anything has a score of zero. The order of clicks is not read.",
    ),
    "pop": Advice(
        "sessions", "the floor that everything must beat",
        "As the floor of a table, and for visitors of whom nothing is known.",
        "Anything is known of the session: every other model here reads it.",
    ),
    "repeat": Advice(
        "the session itself", "how much is mere repetition",
        "To see how many of the next items stood in the session already. Where it does well, look at a metric"
        " without repeats, too.",
        "New items are to be recommended: it never names one.",
    ),
    "sasrec": Advice(
        "sessions", "the usual transformer; order matters",
        "Order matters and sessions have more than a few items. It learns from every position of a session, and is"
        " what most new models are compared with.",
        "Sessions are very short or few. Items nobody has chosen stay unknown to it.",
        "kang2018sasrec",
    ),
    "sknn": Advice(
        "sessions", "neighbours without training; fresh sessions count at once",
        "There are many sessions, some of them alike: it finds those nearest to the current one and lets them vote."
        " New sessions count as soon as they are stored.",
        "Millions of sessions and few milliseconds: it looks at all of them here. Sessions that share no item have"
        " no neighbours.",
        "jannach2017sknn",
    ),
    "spop": Advice(
        "sessions", "customers come back to what they saw",
        "Customers return to the same items within a visit, as for groceries: with popularity behind it, it is hard"
        " to beat there.",
        "Items are chosen once, as films are: it is popularity then.",
    ),
    "sr-gnn": Advice(
        "sessions", "returns to the same items within a session",
        "Visitors go back and forth between the same items, so that a session is a graph rather than a line.",
        "No item comes back within a session: its graph is then a chain, which a GRU reads as well.",
        "wu2019srgnn",
    ),
    "two-towers": Advice(
        "sessions, text, image", "the plain start, and a control: no loss parts ID and content",
        "As a plain start where items have IDs and content, and as the control for models that say they tell the two"
        " apart.",
        "Order matters beyond the last item: the others are a mean.",
    ),
    "unisrec": Advice(
        "text, image", "new items, and order matters",
        "New items arrive all the time and order matters: a transformer over whitened features knows no ID.",
        "Text and images say little, or items differ in what no feature shows: two with equal features cannot be"
        " told apart.",
        "hou2022unisrec",
    ),
    # users
    "addrl": Advice(
        "pairs, text, image, price, popularity, brand, category", "each attribute needs a knob of its own",
        "Price, brand, category or popularity should each have a part of the score that can be turned up and down,"
        " per user or for all.",
        "Accuracy alone counts. Attributes that are missing for most items leave their chunks to guess.",
        "li2024addrl",
    ),
    "bm3": Advice(
        "pairs, text, image", "no negatives can be drawn",
        "Items that a user did not choose cannot be told from items never shown, so that negatives would teach wrong"
        " things. A step is quick, for nothing is sampled.",
        "Negatives are there to be drawn: without them nothing but a penalty and the features holds the rows apart.",
        "zhou2023bm3",
    ),
    "bpr": Advice(
        "pairs", "the smallest trained baseline",
        "As the first trained model: a row per user, a row per item, seconds to train. Tune its penalty before"
        " anything is said to beat it.",
        "Users with one or two choices, or new items: it has no graph and no content to lean on.",
        "rendle2009bpr",
    ),
    "dgcf": Advice(
        "pairs", "intents behind IDs are of interest; slow",
        "You want to look at several intents behind the choices and have nothing but the choices.",
        "Time counts: it routes every pair to its intents again and again. What an intent means must be read off"
        " afterwards.",
        "wang2020dgcf",
    ),
    "dmrl": Advice(
        "pairs, text, image", "weights of modalities per user, item and factor",
        "You want to see how much a user attends to text, image or ID of an item, factor by factor.",
        "Catalogues are large or time is short: it is among the dearest models here, and its score of every item"
        " needs an attention of its own.",
        "liu2022dmrl",
    ),
    "freedom": Advice(
        "pairs, text, image", "content is good: a fixed graph of similar items, quickly trained",
        "Text or images say which items are alike. That graph is made once and stays, so training costs little more"
        " than LightGCN.",
        "Content says little of taste: its neighbours are then the wrong ones, and nothing mends them.",
        "zhou2023freedom",
    ),
    "grcn": Advice(
        "pairs, text, image", "clicks are noisy: content prunes the graph",
        "Many clicks are accidents, and content can show which: edges that do not fit what a user likes lose weight.",
        "Choices are purchases that mean what they say, or content is poor. Its graph is refined in every step,"
        " which takes time.",
        "wei2020grcn",
    ),
    "idsf": Advice(
        "pairs, text, image", "content is good, and IDs are to add to it",
        "Items have good text and images, and IDs are to add what these leave out. Its settings say how much ID is"
        " mixed into content and structure.",
        "Time or memory is short: it propagates a graph per modality, and its contrast of all items with all others"
        " grows with their square (`contrast_items` draws some).",
        "liu2023idsf",
    ),
    "item-knn": Advice(
        "pairs", "first of all: no training, hard to beat",
        "First of all, on any data: similarities of items by who chose them, in a second. A score names the chosen"
        " items it comes from.",
        "Most items have one or two buyers, or are new.",
        "deshpande2004itemknn",
    ),
    "lattice": Advice(
        "pairs, text, image", "as FREEDOM, with a graph that is learned; slower",
        "Text or images say which items are alike, and you can afford to let training correct them.",
        "Catalogues are large: it compares all items with each other in every epoch. FREEDOM leaves that out.",
        "zhang2021lattice",
    ),
    "lightgcn": Advice(
        "pairs", "the usual graph model; IDs alone",
        "As the trained model to begin with where nothing but choices is known: users and items learn from"
        " neighbours of neighbours.",
        "New items: without a choice they have no neighbours. BPR-MF is quicker, for it walks no graph.",
        "he2020lightgcn",
    ),
    "mmgcn": Advice(
        "pairs, text, image", "a graph per modality; mainly for comparison",
        "For comparison: it is the first graph model of several modalities, and stands in the tables of most papers.",
        "Otherwise: FREEDOM and LATTICE came after it and use the same inputs.",
        "wei2019mmgcn",
    ),
    "most-popular": Advice(
        "pairs", "the floor that everything must beat",
        "As the floor of a table, and for users of whom nothing is known.",
        "Anything is known of the user.",
    ),
    "ngcf": Advice(
        "pairs", "LightGCN's ancestor; mainly for comparison",
        "For comparison with papers that report it.",
        "Otherwise: LightGCN is the same idea without the layers' weights, and simpler to tune.",
        "wang2019ngcf",
    ),
    "slmrec": Advice(
        "pairs, text, image", "modalities are to find each other without labels",
        "Text, image and ID of an item should agree, and there are enough items in a batch to contrast them.",
        "Batches are small, or modalities say different things on purpose. It walks the graph once per modality.",
        "tao2022slmrec",
    ),
    "vbpr": Advice(
        "pairs, text, image", "the smallest model that sees content",
        "As the first model that sees content: a second space beside BPR-MF's, seconds to train. Of users it is also"
        " the control that has ID and content without a loss between them.",
        "Few choices per user: there is no graph to borrow from.",
        "he2016vbpr",
    ),
}  # fmt: skip
#: Of a model that was added and has no line above yet.
UNKNOWN = Advice("–", "–", "", "")
