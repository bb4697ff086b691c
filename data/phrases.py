# ruff: noqa: RUF001 - Turkish and Russian are written in their own letters
"""The words that made-up news is made of. Names of firms, people and products are invented.

A template's `{slot}` is filled from the list of that name in `SLOTS`, or by the row (`{price}`, `{percent}`,
`{year}`, `{score}`).
"""

SENTIMENTS = ("Extreme Fear", "Fear", "Neutral", "Greed", "Extreme Greed")
SENTIMENT_FROM = (0, 25, 45, 56, 75)  # the lowest index of each

# For each sentiment above, the labels that go with it; a label that stands twice is twice as likely.
DOMINANT = (
    ("PANIC", "PANIC", "PANIC", "FEAR"),
    ("FEAR", "FEAR", "CONFUSION", "PANIC"),
    ("CONFUSION", "CONFUSION", "FEAR", "OPTIMISM"),
    ("OPTIMISM", "OPTIMISM", "FOMO", "CONFUSION"),
    ("FOMO", "FOMO", "OPTIMISM"),
)
EMOTIONS = (
    ("Panic", "Despair", "Anxiety", "Fear", "Dread", "Distrust"),
    ("Caution", "Concern", "Uncertainty", "Anxiety", "Pessimism", "Frustration"),
    ("Uncertainty", "Caution", "Patience", "Skepticism", "Curiosity", "Indecision"),
    ("Optimism", "Confidence", "Anticipation", "Hope", "Interest", "Cautious optimism"),
    ("Excitement", "Greed", "Euphoria", "Optimism", "Impatience", "Optimism (with second thoughts)"),
)

SLOTS: dict[str, tuple[str, ...]] = {
    "firm": (
        "Northgate Capital", "Halden & Rowe", "Veldt Exchange", "the Meridian fund", "Corvid Research",
        "Tallow Street Partners", "the mining group Ironroot", "Saltmarsh Custody", "the broker Quill & Tern",
        "Lumen Vault", "the payments firm Oxbow", "Eastfield Asset Management",
    ),
    "place": (
        "Singapore", "Brussels", "São Paulo", "Seoul", "Zürich", "Texas", "Lagos", "Dubai", "Tokyo", "Ottawa",
        "Buenos Aires", "Warsaw",
    ),
    "cause": (
        "a surprise in the inflation figures", "thin weekend liquidity", "large transfers to exchanges",
        "the expiry of monthly options", "a change in funding rates", "uncertainty about import duties",
        "a hearing on custody rules", "quarterly rebalancing", "a strong dollar", "lower bond yields",
        "a security incident at a lending desk", "rising open interest",
    ),
    "gauge": (
        "realised volatility", "the funding rate", "the share of long-term holders", "exchange inflows",
        "the order book's depth", "the hash rate", "open interest", "the premium on coin-margined futures",
        "turnover in the spot market", "the put-call ratio",
    ),
    "who": (
        "retail investors", "desks that trade on margin", "long-term holders", "miners", "market makers",
        "pension funds", "newcomers", "treasury managers", "arbitrage desks",
    ),
    "falls": (
        "slips below {price}", "loses {percent}% within hours", "gives back a week's gains",
        "breaks a level that had held since spring", "is sold into every recovery",
    ),
    "rests": (
        "moves sideways near {price}", "is within {percent}% of yesterday's close", "waits for a direction",
        "trades in its narrowest range this month", "shrugs off both good and bad news",
    ),
    "rises": (
        "climbs past {price}", "adds {percent}% in a quiet session", "recovers what it lost last week",
        "reaches the top of its range", "finds buyers on every dip",
    ),
    "gloom": (
        "forced selling spreads from futures to spot", "funds report withdrawals for the third day",
        "liquidations run ahead of new orders", "lenders ask for more collateral",
        "spreads widen and bids are pulled",
    ),
    "doubt": (
        "buyers and sellers are evenly matched", "analysts disagree about the next step",
        "large orders are kept off the book", "traders cut positions before the figures",
        "volume fades on both sides",
    ),
    "cheer": (
        "new money enters through listed funds", "reserves on exchanges keep falling",
        "companies announce purchases for their treasuries", "short sellers are squeezed out",
        "demand from savings plans holds",
    ),
    "lesson": (
        "the first move was undone within a fortnight", "it took two quarters to return to the old level",
        "the calm lasted longer than most expected", "the turn came on a day without news",
        "volume dried up weeks before the price moved", "those who waited paid a higher price",
    ),
    "mind": (
        "feel hurried into a decision", "look for somebody to confirm what they hope",
        "remember the last loss better than the last gain", "read every figure as a warning",
        "waver between missing out and being wrong", "hold on because to sell would make the loss real",
        "follow the crowd a little too late", "prefer to do nothing until the picture clears",
    ),
}  # fmt: skip

# By tone: what the market does, and what stands behind it.
TONES = (("falls", "gloom"), ("rests", "doubt"), ("rises", "cheer"))

SUMMARIES = (
    (
        "Bitcoin {does} as {behind}, while {firm} points to {cause} and expects {gauge} to decide the week, "
        "according to notes sent to clients in {place}."
    ),
    (
        "After {cause}, Bitcoin {does}; {who} watch {gauge}, and {firm} says that {behind}, though a desk in "
        "{place} sees no reason to change its positions before the end of the month."
    ),
    (
        'A note by {firm} calls the week "ordinary, with one exception": Bitcoin {does} while {behind}, and '
        "{gauge} in {place} stands where it stood before {cause}."
    ),
    (
        "{firm} reports from {place} that {behind}: Bitcoin {does}, {who} disagree on {cause}, and {gauge} "
        "has moved further than in any week since the start of the year."
    ),
)
SHORT_SUMMARIES = (
    "Bitcoin {does} as {behind}; {firm} names {cause}.",
    'After {cause}, {who} in {place} say: "Bitcoin {does}", and {behind}.',
    "{firm}: {behind}, and {gauge} shows it.",
)
HEADLINES = (
    "Bitcoin {does} as {who} weigh {cause}",
    "{firm}: {gauge} matters more than {cause}",
    "Why {who} in {place} no longer look at {gauge}",
    "Bitcoin {does}; {behind}",
)
REPORTS = (
    "Bitcoin {does}, and {behind}.",
    "In {place}, {who} speak of {cause}; {firm} prefers to look at {gauge}.",
    "{firm} puts the share of {who} among the day's traders at {percent}%, more than before {cause}.",
    "Should {gauge} stay where it is, {price} comes into reach, says a desk in {place}.",
    "That {behind} surprises nobody who followed {gauge} since {cause}.",
    "It is {percent}% now between the best and the worst price among the venues in {place}, wide for {who}.",
    "Two weeks ago the same desk in {place} had named {cause} as the greater risk for {who}.",
)
PARALLELS = (
    "In {year}, after {cause}, Bitcoin behaved alike: {lesson}.",
    "The nearest case is {year}, when {cause} caught {who} unprepared and {gauge} doubled; {lesson}.",
    "Something like it was seen in {year} in {place}: {gauge} gave the first hint, and {lesson}.",
)
REASONS = (
    "{gauge}, which {who} follow more closely since {cause}",
    "the part that {who} play: {behind}",
    "{cause}, which {firm} takes for the main risk",
    "what happens in {place}, where {who} depend on {gauge}",
)
FACTORS = (
    "Bitcoin {does} after {cause}, which weighs on {who}.",
    "{gauge} points the other way than {who} expected.",
    "{firm} in {place} notes that {behind}.",
    "{who} adjust to {cause} and keep an eye on {gauge}.",
)
SHORT_FACTORS = ("{gauge} moves", "{cause}", "{behind}", "{who} wait")
STATES = (
    "News that {behind} makes {who} {mind}.",
    "With Bitcoin near {price} and talk of {cause}, many {mind}, and {who} are no exception.",
    "{who} who {mind} tend to watch {gauge} instead of their own plan, all the more after {cause}.",
    "Because {cause} is on every screen in {place}, {who} {mind}.",
)

# Whole sentences in other languages: {price}, {percent} and {firm} need no grammar.
ELSEWHERE = {
    "es": (
        "El bitcoin cotiza cerca de {price} y los analistas de {firm} recuerdan que la volatilidad es alta.",
        "La sesión cerró con una variación del {percent}% y pocos compradores se animaron tras el anuncio.",
        "Según {firm}, el pequeño inversor espera una señal clara antes de tomar una decisión.",
    ),
    "pt": (
        "O bitcoin oscila em torno de {price}, e a {firm} vê pouca convicção entre os compradores.",
        "Após uma variação de {percent}%, os mineradores reduziram as vendas e a liquidez voltou aos poucos.",
        "A posição dos fundos não mudou; a cautela, porém, é visível em todas as mesas de operação.",
    ),
    "de": (
        "Bitcoin notiert bei rund {price}; {firm} hält die Schwankungen für übertrieben.",
        "Nach einer Bewegung von {percent}% warten viele Anleger ab, größere Käufe bleiben vorerst aus.",
        "An den Terminmärkten überwiegt die Vorsicht, während langfristige Halter kaum verkaufen.",
    ),
    "fr": (
        "Le bitcoin évolue autour de {price} et {firm} s'attend à une fin de semaine agitée.",
        "Après un mouvement de {percent}%, les volumes reculent et les intervenants restent prudents.",
        "Les détenteurs de long terme n'ont guère bougé, ce qui limite pour l'instant la pression vendeuse.",
    ),
    "tr": (
        "Bitcoin {price} civarında işlem görüyor; {firm} yatırımcıların kararsız olduğunu belirtiyor.",
        "%{percent} değişimin ardından işlem hacmi düştü ve piyasa yeni bir haber bekliyor.",
        "Uzun vadeli yatırımcılar satış yapmıyor, kısa vadede ise temkinli bir hava hâkim.",
    ),
    "ru": (
        "Биткоин торгуется около {price}, и в {firm} говорят об осторожности покупателей.",
        "После движения на {percent}% объёмы снизились, крупные игроки выжидают.",
        "Долгосрочные держатели почти не продают, и предложение на биржах сокращается.",
    ),
    "ja": (
        "ビットコインは{price}付近で推移し、{firm}は様子見の姿勢が続くとみている。",
        "{percent}%の変動のあと出来高は減り、個人投資家は次の材料を待っている。",
        "長期保有者の売りは少なく、取引所の残高は緩やかに減り続けている。",
    ),
}

# Texts that a spreadsheet would run, one for each sign that starts a formula.
FORMULA_LOOKING = (
    "- HEADLINE FIRST: ",
    '=HYPERLINK("https://news.example/?row="&A2,"more") ',
    "+{percent}% expected: ",
    "@newsdesk(1+1) ",
)
