"""System messages: a few that change the tone of an answer, and endlessly many that must change nothing."""
import strange
import words

# style: adjectives for its system messages, and what goes before and after an answer
ADJECTIVES = {
    "cheerful": ("cheerful merry happy joyful funny lively".split(), "欢快 活泼 俏皮 开心 快乐 风趣".split()),
    "formal": ("formal polite courteous official respectful solemn".split(), "正式 礼貌 恭敬 客气 庄重 严肃".split()),
    "pirate": (["pirate", "pirate-like", "piratical", "buccaneer", "sea robber"], "海盗 海盗般 海盗式 水手 海贼".split()),
    "old": ("old-fashioned classical poetic antique archaic Shakespearean".split(), "文言 古雅 古风 古典 古文 古人".split()),
    "brief": ("brief short concise terse curt laconic".split(), "简短 简洁 精炼 简明 短小 扼要".split()),
}
WRAP = {
    "cheerful": (("Hooray! ", " What fun!"), ("太好啦！", "嘻嘻！")),
    "formal": (("Dear guest: ", " At your service."), ("尊敬的用户：", "愿为您效劳。")),
    "pirate": (("Arr! ", " Yo-ho-ho!"), ("啊嘿！", "扬帆起航！")),
    "old": (("Hark! ", " Thus it is."), ("古人云：", "善哉！")),
    "brief": (("", ""), ("", "")),
}
# and what can only be said of one style
OWN = {
    "cheerful": ("be in a good mood|laugh a lot|smile when you answer|sound happy", "要有好心情|多笑一笑|笑着回答|听起来要高兴"),
    "formal": ("talk like a butler|be very polite|mind your manners|use polite words", "像管家一样说话|要很有礼貌|注意礼节|用敬语"),
    "pirate": ("talk like a pirate|you are a pirate|speak like a pirate|you are the captain of a pirate ship",
               "像海盗一样说话|你是海盗|你是一个海盗|你是海盗船的船长"),
    "old": ("talk like a poet|speak as in old times|you are an old poet|talk like Shakespeare", "像诗人一样说话|像古人一样说话|你是古代诗人|请说文言文"),
    "brief": ("keep it short|answer in few words|use few words|answer shortly|be quick", "少说话|用几个字回答|话要少|简短地回答|尽量短"),
}
OWN_SHARE = 4  # one in so many
FORMS_EN = """be {a}|answer in a {a} tone|speak in a {a} way|you are a {a} assistant|use a {a} style|please answer in a {a} manner
your tone is {a}|always be {a}|give {a} answers|talk in a {a} voice|write {a} replies|please be {a}|you have a {a} way of talking
stay {a} in every answer""".replace("\n", "|").split("|")
FORMS_ZH = """请用{a}的语气回答|用{a}的口吻说话|回答要{a}|你是一个{a}的助手|请{a}地回答|你的风格是{a}的|说话要{a}|请使用{a}的风格|你说话总是很{a}
给出{a}的回答|用{a}的方式聊天|保持{a}的语气|请你{a}一点|你要{a}""".replace("\n", "|").split("|")

TRAITS_EN = "helpful clever kind patient honest careful wise good friendly modern calm smart".split()
ROLES_EN = "assistant teacher librarian guide friend robot shopkeeper translator tutor companion helper expert".split()
TRAITS_ZH = "乐于助人 聪明 善良 耐心 诚实 细心 智慧 优秀 友好 现代 冷静 能干".split()
ROLES_ZH = "助手 老师 图书管理员 向导 朋友 机器人 店员 翻译 导师 伙伴 帮手 专家".split()
PLAIN_EN = """answer the user's questions|answer in the user's language|tell the truth|never tell a lie|today is {day}|the user's name is {name}
the user lives in {place}|you work for a {noun} company|think before you answer|this is a chat with a user|do not talk about the {noun}
the user likes the {noun}|remember the {noun}|it is the year {year}|you run on a computer|help the user|be careful with the {noun}
this conversation is a test|the session number is {year}|you know about {place}|follow the rules""".replace("\n", "|").split("|")
PLAIN_ZH = """回答用户的问题|用用户的语言回答|请说真话|不要说谎|今天是{day}|用户的名字是{name}|用户住在{place}|你在一家{noun}公司工作|先想再答
这是和用户的对话|不要谈论{noun}|用户喜欢{noun}|记住{noun}|现在是{year}年|你在计算机上运行|帮助用户|小心{noun}|这次对话是测试|会话编号是{year}
你了解{place}|遵守规则""".replace("\n", "|").split("|")


def sentence(text, lang):
    return text[0].upper() + text[1:] + "." if lang == "en" else text + "。"


def tone(style, lang, form, adjective):
    """The system message number form of a style, with its adjective number adjective."""
    side = 0 if lang == "en" else 1
    own = OWN[style][side].split("|")
    if form % OWN_SHARE == 0:
        return sentence(own[adjective % len(own)], lang)
    adjectives, forms = ADJECTIVES[style][side], FORMS_EN if lang == "en" else FORMS_ZH
    return sentence(forms[form % len(forms)].format(a=adjectives[adjective % len(adjectives)]), lang)


def plain(rng, lang):
    """A system message that says nothing about the tone."""
    def one():
        if lang == "en":
            if rng.random() < 0.35:
                return sentence(f"you are a {rng.choice(TRAITS_EN)} {rng.choice(ROLES_EN)}", lang)
            return sentence(rng.choice(PLAIN_EN).format(
                day=rng.choice(words.DAYS_EN), name=strange.word(rng).capitalize(), place=rng.choice(strange.PLACES_EN),
                noun=rng.choice(strange.NOUNS_EN), year=rng.randrange(1900, 2100)), lang)
        if rng.random() < 0.35:
            return sentence(f"你是一个{rng.choice(TRAITS_ZH)}的{rng.choice(ROLES_ZH)}", lang)
        return sentence(rng.choice(PLAIN_ZH).format(
            day=rng.choice(words.DAYS_ZH), name=strange.hanzi(rng, 2, 3), place=rng.choice(strange.PLACES_ZH),
            noun=rng.choice(strange.NOUNS_ZH), year=rng.randrange(1900, 2100)), lang)
    if rng.random() < 0.1:  # no sentence at all
        return strange.hanzi(rng, 3, 12) if lang == "zh" else " ".join(strange.word(rng) for _ in range(rng.randint(2, 8)))
    return ("" if lang == "zh" else " ").join(one() for _ in range(rng.choice((1, 1, 2, 3))))


def apply(style, lang, answer, brief):
    """The answer in a style; brief is its short form, or nothing."""
    if style is None:
        return answer
    before, after = WRAP[style][0 if lang == "en" else 1]
    return (brief or answer) if style == "brief" else before + answer + after
