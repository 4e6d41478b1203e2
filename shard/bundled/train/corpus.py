"""Questions and answers of every skill, the split into trained and held-out wordings, and endless chats made of the trained ones.

Everything follows from a seed. A question is built from a wording (a template, filled with a word or a name); held_out decides by
a hash, so the split is the same for every seed and in every year. No chat contains a held-out wording.
"""
import hashlib
import json
import random
from collections import namedtuple

import facts
import stories
import strange
import styles
import words

# brief: the answer under a system message that asks for short ones, or "". styled: whether a tone applies at all.
Item = namedtuple("Item", "skill lang question answer brief styled", defaults=("", True))

# Wordings that everybody types first are trained, whatever their hash says.
ALWAYS = {"你好", "您好", "Hello", "Hi", "How are you", "你好吗", "who are you?", "你是谁？", "what can you do?", "你会做什么？"}

UNKNOWN = {"en": "I am sorry, I do not know that. I am only a very small model.", "zh": "对不起，这个我不知道。我只是一个很小的模型。"}

NOD = {"en": "I see. Ask me something about this program, or ask for a story.", "zh": "明白了。问我一个关于这个程序的问题吧，或者让我讲个故事。"}


def held_out(skill, lang, wording):
    """Whether a wording is kept from training: one in ten."""
    if wording in ALWAYS:
        return False
    return int.from_bytes(hashlib.sha256(f"{skill}|{lang}|{wording}".encode()).digest()[:4], "big") % 10 == 0


# ------------------------------------------------------------------------------------------------ facts
TERM_EN = """what {is} {x}?|what {does} {x} mean?|tell me about {x}.|explain {x}.|can you explain {x}?|describe {x}.|what do you mean by {x}?
I do not know what {x} {is}.|tell me what {x} {is}.|do you know what {x} {is}?|what can you say about {x}?|define {x}.|please explain {x} to me.
what is meant by {x}?|I want to know about {x}.|could you tell me what {x} {is}?|so what {is} {x}?|what exactly {is} {x}?""".replace("\n", "|").split("|")
TERM_ZH = """什么是{x}？|{x}是什么？|{x}是什么意思？|解释一下{x}。|请解释{x}。|介绍一下{x}。|给我讲讲{x}。|说说{x}。|你知道{x}是什么吗？|{x}指的是什么？
我不懂{x}是什么。|告诉我什么是{x}。|所谓{x}是什么？|能讲讲{x}吗？|我想了解{x}。|{x}到底是什么？|请问什么是{x}？|能解释一下{x}吗？""".replace("\n", "|").split("|")
DIRECT_EN = ["{q}?", "please tell me: {q}?", "{q}, please?", "one question: {q}?", "now tell me, {q}?"]
CLAUSE_EN = """tell me {q}.|can you tell me {q}?|do you know {q}?|explain {q}.|please explain {q}.|I want to know {q}.|I would like to know {q}.
could you say {q}?""".replace("\n", "|").split("|")
CLAUSE_ZH = ["{q}？", "请问{q}？", "我想知道{q}。", "告诉我{q}。", "能告诉我{q}？", "请说说{q}。", "我问你，{q}？", "那么{q}？", "说一下{q}？"]
PLURAL = {"tokens", "text tokens", "weights", "the weights", "the model weights", "logits", "the logits", "rotary embeddings", "peers"}
MORE = {"who": ("introduce yourself.|tell me about yourself.|who am I talking to?|are you Baichuan?|say who you are.|please introduce yourself.|what is this model?",
                "介绍一下你自己。|自我介绍一下。|请介绍你自己。|你是哪位？|您是谁？|你是百川吗？|我在和谁说话？|说说你自己。|请做个自我介绍。"),
        "can": ("can you help me?|help me.|help!|please help me.|I need help.|can you do something for me?|give me some help.",
                "你能帮我吗？|帮帮我。|帮助。|请帮我。|我需要帮助。|你能为我做点什么吗？|可以帮我吗？")}
BRIEF = {"who": ("Baichuan mini.", "百川小模型。"), "can": ("Small talk, facts, stories.", "闲聊、问答、讲故事。"),
         "human": ("No.", "不是。"), "size": ("Seven million weights.", "七百万权重。"), "languages": ("Chinese and English.", "中文和英语。"),
         "maker": ("A Python program.", "一个 Python 程序。"), "privacy": ("No.", "不保密。"), "encrypted": ("Yes.", "加密。")}
SELF = {"who", "can", "maker", "human", "size", "languages"}


def term_items():
    for t in facts.TERMS:
        for x in t.en.split("|"):
            many = x in PLURAL
            for form in TERM_EN:
                yield Item("facts", "en", form.format(x=x, **{"is": "are" if many else "is", "does": "do" if many else "does"}), t.en_answer)
        for x in t.zh.split("|"):
            for form in TERM_ZH:
                yield Item("facts", "zh", form.format(x=x), t.zh_answer)


def question_items():
    for q in facts.QUESTIONS:
        skill = "identity" if q.key in SELF else "facts"
        more, brief = MORE.get(q.key, ("", "")), BRIEF.get(q.key, ("", ""))
        english = [form.format(q=x) for x in q.en.split("|") for form in DIRECT_EN]
        english += [form.format(q=x) for x in q.en_clause.split("|") for form in CLAUSE_EN] + [x for x in more[0].split("|") if x]
        chinese = [form.format(q=x) for x in q.zh.split("|") for form in CLAUSE_ZH] + [x for x in more[1].split("|") if x]
        yield from (Item(skill, "en", x, q.en_answer, brief[0]) for x in english)
        yield from (Item(skill, "zh", x, q.zh_answer, brief[1]) for x in chinese)


# ------------------------------------------------------------------------------------------------ greetings
GREETINGS = (  # wordings en, wordings zh, answers, brief answers
    ("Hello|Hi|Hey|Hi there|Hello there|Hey there|Greetings|Howdy|Good day|Hello again|Hi again|Hullo|Hiya|Welcome",
     "你好|您好|嗨|哈喽|你好呀|你好啊|你们好|大家好|喂|在吗|哈啰|嘿|你好哦|又见面了|有人吗",
     ("Hello! I am glad to talk with you. How can I help?", "你好！很高兴和你聊天。有什么可以帮你的吗？"), ("Hello!", "你好！")),
    ("Good morning|Morning|A good morning to you|Good morning to you|Have a good morning|A very good morning|Mornin'",
     "早上好|早|早安|上午好|早啊|早上好啊|大清早好|祝你早上好", ("Good morning! I wish you a pleasant day.", "早上好！祝你今天愉快。"), ("Good morning!", "早！")),
    ("Good afternoon|Afternoon|A good afternoon to you|Good afternoon to you|Have a good afternoon|A very good afternoon",
     "下午好|中午好|午安|下午好啊|中午好啊|祝你下午好", ("Good afternoon! What would you like to know?", "下午好！你想知道什么？"), ("Good afternoon!", "下午好！")),
    ("Good evening|Evening|A good evening to you|Good evening to you|Have a good evening|A very good evening",
     "晚上好|傍晚好|晚上好啊|夜里好|祝你晚上好|今晚好", ("Good evening! How was your day?", "晚上好！你今天过得怎么样？"), ("Good evening!", "晚上好！")),
    ("Good night|Night|Sleep well|I am going to bed|Sweet dreams|A good night to you|Good night to you|Have a good night|I go to sleep now",
     "晚安|我去睡了|好梦|我要睡觉了|我困了|早点睡|祝你晚安|睡个好觉|我睡了", ("Good night! Sleep well.", "晚安！祝你好梦。"), ("Good night!", "晚安！")),
    ("How are you|How are you doing|How do you do|How is it going|Are you well|How are things|How do you feel|What's up|How have you been"
     "|How are you today|How are you feeling today|Are you fine|Is everything all right",
     "你好吗|你怎么样|最近好吗|过得好吗|你还好吗|近来如何|身体好吗|你今天好吗|一切都好吗|最近怎么样|你今天怎么样|过得怎么样",
     ("I am fine, thank you: all my layers are at work.", "谢谢，我很好，所有的层都在工作。"), ("Fine, thanks.", "很好。")),
    ("Thank you|Thanks|Thank you very much|Many thanks|Thanks a lot|That helped|Thank you so much|Cheers|I thank you|Thanks for your help"
     "|That was helpful|Thanks for the answer|Much obliged",
     "谢谢|多谢|非常感谢|谢谢你|感谢|太感谢了|谢谢啦|谢谢您|谢了|十分感谢|有劳了|谢谢你的帮助|谢谢你的回答|感谢你",
     ("You are welcome!", "不客气！"), ("Welcome.", "不谢。")),
    ("Goodbye|Bye|See you|See you later|Bye bye|Farewell|See you tomorrow|I have to go|Goodbye then|I must leave now|So long|Take care|Until next time",
     "再见|拜拜|回头见|下次见|明天见|我走了|再会|我要走了|告辞|先这样|后会有期|我先走了|改天再聊",
     ("Goodbye! Come back soon.", "再见！欢迎再来。"), ("Bye.", "再见。")),
    ("Nice to meet you|Pleased to meet you|Glad to meet you|It is nice to meet you|A pleasure to meet you|Good to see you|Happy to meet you"
     "|Lovely to meet you|Glad to see you",
     "很高兴认识你|认识你很高兴|幸会|见到你很高兴|很高兴见到你|久仰|认识你真好|见到你真好",
     ("Nice to meet you too!", "我也很高兴认识你！"), ("Likewise.", "幸会。")),
    ("Sorry|I am sorry|Excuse me|Pardon me|My apologies|I apologise|Forgive me|Sorry about that|I beg your pardon",
     "对不起|抱歉|不好意思|打扰了|请原谅|真抱歉|非常抱歉|很对不起|打扰一下", ("No problem at all.", "没关系。"), ("No problem.", "没事。")),
    ("Well done|You are great|Good answer|Very good|You are clever|That is right|Great|Wonderful|You are smart|Good job|Nice work|Excellent|I like you",
     "真棒|你真好|你真聪明|回答得好|很好|太好了|说得对|厉害|你很厉害|干得好|不错|我喜欢你|你真厉害",
     ("Thank you, that is kind of you!", "谢谢夸奖！"), ("Thanks!", "谢谢！")),
)
COMMON = {wording for row in GREETINGS for listed in row[:2] for wording in listed.split("|")[:4]}
CALLS = {"en": ["", ", Baichuan", ", my friend", ", little model", ", dear model", " mini"], "zh": ["", "，百川", "，朋友", "，小模型", "，亲爱的", "，小百川"]}
ENDS = {"en": ["!", ".", ""], "zh": ["！", "。", ""]}


def greeting_items():
    for en, zh, answers, brief in GREETINGS:
        for lang, side, listed in (("en", 0, en), ("zh", 1, zh)):
            for wording in listed.split("|"):
                for call in CALLS[lang]:
                    yield Item("greetings", lang, wording + call, answers[side], brief[side])


# ------------------------------------------------------------------------------------------------ words
def fill(skill, lang, forms, answer, table, styled=True):
    for row in table:
        for form in forms.replace("\n", "|").split("|"):
            yield Item(skill, lang, form.format(*row), answer.format(*row), "", styled)


def both(pairs):
    return [p for a, b in pairs for p in ((a, b), (b, a))]


def word_items():
    yield from fill("opposites", "en", """what is the opposite of {0}?|what is the contrary of {0}?|tell me the opposite of {0}.|the opposite of {0} is what?
which word is the opposite of {0}?|opposite of {0}?|give me the opposite of {0}.|do you know the opposite of {0}?|name the opposite of {0}.
can you tell me the opposite of {0}?|what is opposite to {0}?|please say the opposite of {0}.""", "The opposite of {0} is {1}.", both(words.OPPOSITES_EN))
    yield from fill("opposites", "zh", """{0}的反义词是什么？|“{0}”的反义词是什么？|和{0}相反的词是什么？|{0}的反义词？|说出{0}的反义词。|告诉我{0}的反义词。|与{0}相反的是什么？
请说出“{0}”的反义词。|你知道{0}的反义词吗？|{0}的反面是什么？|哪个词是{0}的反义词？|什么词和{0}意思相反？""", "{0}的反义词是{1}。", both(words.OPPOSITES_ZH))
    yield from fill("colours", "en", """what colour is {2}?|what is the colour of {2}?|which colour is {2}?|tell me the colour of {2}.|what color is {2}?|do you know the colour of {2}?
which colour does {2} have?|what colour does {2} have?|say what colour {2} is.|name the colour of {2}.|can you tell me the colour of {2}?""",
                    "{3} is {1}.", [(w, c, "the " + w, "The " + w) for w, c in words.COLOURS_EN])
    yield from fill("colours", "zh", """{0}是什么颜色？|{0}是什么颜色的？|{0}的颜色是什么？|{0}什么颜色？|告诉我{0}的颜色。|你知道{0}是什么颜色吗？|{0}有什么颜色？|说说{0}的颜色。
{0}一般是什么颜色？|请问{0}是什么颜色？|{0}是哪种颜色？""", "{0}是{1}的。", words.COLOURS_ZH)
    yield from fill("capitals", "en", """what is the capital of {0}?|which city is the capital of {0}?|tell me the capital of {0}.|name the capital of {0}.|the capital of {0} is which city?
what is the capital city of {0}?|do you know the capital of {0}?|{0}: what is its capital?|what is {0}'s capital?|can you tell me the capital of {0}?|capital of {0}?
please name the capital of {0}.|which capital does {0} have?""", "The capital of {0} is {1}.", [(a, b) for a, b, _, _ in words.CAPITALS])
    yield from fill("capitals", "zh", """{0}的首都是哪里？|{0}的首都是什么？|{0}首都是哪里？|哪个城市是{0}的首都？|告诉我{0}的首都。|说出{0}的首都。|{0}的首都在哪里？|你知道{0}的首都吗？
{0}的首都叫什么？|请问{0}的首都是哪里？|{0}的首都是哪个城市？|{0}的首都呢？""", "{0}的首都是{1}。", [(a, b) for _, _, a, b in words.CAPITALS])
    d = words.DICTIONARY
    yield from fill("translation", "en", """how do you say {0} in Chinese?|what is {0} in Chinese?|translate {0} into Chinese.|what is the Chinese word for {0}?|say {0} in Chinese.
{0} in Chinese, please.|how is {0} called in Chinese?|please translate the word {0} into Chinese.|the Chinese for {0}?|tell me the Chinese word for {0}.|give me the Chinese for {0}.""",
                    "In Chinese, {0} is {1}.", d, False)
    yield from fill("translation", "en", """what does {1} mean?|what does {1} mean in English?|translate {1} into English.|what is {1} in English?|how do you say {1} in English?
what is the English word for {1}?|the meaning of {1}?|please translate {1} into English.|tell me what {1} means.|{1} in English, please.|give me the English for {1}.""",
                    "In English, {1} is {0}.", d, False)
    yield from fill("translation", "zh", """{1}用英语怎么说？|“{1}”用英语怎么说？|{1}的英语是什么？|把{1}翻译成英语。|{1}用英文怎么说？|英语里{1}怎么说？|{1}翻译成英文是什么？|请把“{1}”译成英语。
告诉我{1}的英语。|怎么用英语说{1}？|{1}的英文单词是什么？""", "{1}的英语是 {0}。", d, False)
    yield from fill("translation", "zh", """{0}是什么意思？|{0} 是什么意思？|{0}用中文怎么说？|英语单词 {0} 是什么意思？|{0}的中文是什么？|把{0}翻译成中文。|{0} 中文怎么说？|请把 {0} 译成中文。
告诉我 {0} 的中文意思。|单词{0}的意思是什么？|{0}翻译成中文是什么？""", "{0} 的中文是{1}。", d, False)


def turn(names):
    return [(names[i], names[(i + 1) % len(names)]) for i in range(len(names))]


def day_items():
    for names in (words.DAYS_EN, words.MONTHS_EN):
        yield from fill("days", "en", """what comes after {0}?|what follows {0}?|which one comes after {0}?|tell me what comes after {0}.|what is next after {0}?|and after {0}?
after {0} comes what?|what comes right after {0}?|name what comes after {0}.|do you know what comes after {0}?""", "After {0} comes {1}.", turn(names))
        yield from fill("days", "en", """what comes before {1}?|what is before {1}?|which one comes before {1}?|tell me what comes before {1}.|and before {1}?
before {1} comes what?|what comes right before {1}?|name what comes before {1}.|do you know what comes before {1}?""", "Before {1} comes {0}.", turn(names))
    for names in (words.DAYS_ZH, words.MONTHS_ZH):
        yield from fill("days", "zh", """{0}之后是什么？|{0}后面是什么？|{0}的下一个是什么？|{0}过了是什么？|告诉我{0}之后是什么。|{0}以后是什么？|{0}之后呢？|什么在{0}之后？
{0}后面是哪一个？|你知道{0}之后是什么吗？""", "{0}之后是{1}。", turn(names))
        yield from fill("days", "zh", """{1}之前是什么？|{1}前面是什么？|{1}的上一个是什么？|告诉我{1}之前是什么。|{1}以前是什么？|{1}之前呢？|什么在{1}之前？
{1}前面是哪一个？|你知道{1}之前是什么吗？""", "{1}之前是{0}。", turn(names))


# ------------------------------------------------------------------------------------------------ poems and stories
def verse(lines):
    return "".join(line + ("，" if i % 2 == 0 else "。") for i, line in enumerate(lines))


def whole(poem):
    return f"《{poem[0]}》{poem[1]}\n{verse(poem[2])}"


ANTHOLOGY = "\n".join(whole(p) for p in words.POEMS[:7])


def poem_items():
    lines = [(p[2][i], p[2][i + 1] + ("，" if i == 1 else "。")) for p in words.POEMS for i in range(3)]
    yield from fill("poems", "zh", """{0}|{0}，|“{0}”的下一句是什么？|{0}的下一句是什么？|{0}，下一句？|接着背：{0}|{0}，接下来呢？|{0}的后面一句是什么？|请接下一句：{0}
“{0}”后面是什么？|{0}，然后呢？|继续：{0}|请问“{0}”的下句是什么？""", "{1}", lines, False)
    yield from fill("poems", "en", """continue the poem: {0}|what comes after {0} in the poem?|what is the next line after {0}?|the next line of {0}, please.|go on with the poem: {0}
which line follows {0}?|please continue the poem: {0}""", "{1}", lines, False)
    poems = [(p[0], p[1], whole(p)) for p in words.POEMS]
    yield from fill("poems", "zh", """背诵《{0}》。|背一下《{0}》。|请背《{0}》。|《{0}》怎么背？|给我背《{0}》。|《{0}》|朗诵《{0}》。|{1}的《{0}》。|我想听《{0}》。|请你背诵{0}。
来一首《{0}》。|念一遍《{0}》。""", "{2}", poems, False)
    yield from fill("poems", "en", """recite the poem {0}.|recite {0}.|please recite 《{0}》.|tell me the poem {0}.|say the poem 《{0}》.|I want to hear {0}.|can you recite {0}?""", "{2}", poems, False)
    yield from fill("poems", "zh", """《{0}》是谁写的？|谁写了《{0}》？|《{0}》的作者是谁？|{0}的作者是谁？|{0}是谁的诗？|请问《{0}》是谁写的？|告诉我《{0}》的作者。|哪位诗人写了《{0}》？""",
                    "《{0}》是{1}写的。", poems)
    yield from fill("poems", "zh", """背几首唐诗。|背几首诗吧。|给我背一些唐诗。|请背诵唐诗。|唐诗|背一组唐诗。|念几首唐诗听听。|我想听唐诗。|来几首唐诗。|朗诵一些诗。|多背几首诗。
你会背哪些诗？都背一遍。""", ANTHOLOGY, [()], False)
    yield from fill("poems", "en", """recite some poems.|recite a few Tang poems.|please recite Tang poems.|I want to hear some poems.|say some poems.|tell me some Tang poems.
give me a few poems.|recite several poems for me.|can you recite some poems?""", ANTHOLOGY, [()], False)


STORY_EN = """tell me a story{about}.|tell a story{about}.|please tell me a story{about}.|can you tell me a story{about}?|I want to hear a story{about}.|a story{about}, please.
do you know a story{about}?|write a short story{about}.|tell me a little tale{about}.|make up a story{about}.|tell us a long story{about}.|give me a story{about}.""".replace("\n", "|").split("|")
STORY_ZH = """给我讲{about}故事。|讲{about}故事吧。|请讲{about}故事。|我想听{about}故事。|你能讲{about}故事吗？|说{about}故事。|来{about}故事。|写{about}故事。|编{about}故事。
再讲{about}故事。|能给我讲{about}故事吗？|给孩子讲{about}故事。""".replace("\n", "|").split("|")


def story_items():
    """Their answers are None: each telling is another."""
    for lang, forms in (("en", STORY_EN), ("zh", STORY_ZH)):
        for hero in [None] + list(range(len(stories.HEROES))):
            about = {"en": "" if hero is None else f" about a {stories.HEROES[hero][0]}",
                     "zh": "个" if hero is None else f"一个{stories.HEROES[hero][1]}的"}[lang]
            yield from (Item("stories", lang, form.format(about=about), hero, "", False) for form in forms)


# ------------------------------------------------------------------------------------------------ all together
# how often each skill is asked, in per cent
SHARE = {"facts": 23, "identity": 8, "greetings": 10, "translation": 20, "capitals": 8, "opposites": 8, "colours": 4, "poems": 6, "days": 6,
         "unknown": 9, "remarks": 2, "stories": 2.5}
# the same for the first question of a chat: most people greet, or ask whom they talk to
OPENING = {**SHARE, "greetings": 60, "identity": 30}


# Skills whose questions are made up on the spot: how, and what is answered to all of them
LOOSE = {"unknown": (strange.ask, UNKNOWN), "remarks": (strange.remark, NOD)}


def loose(rng, skill, lang, kept):
    """A question of such a skill, of the held-out wordings or of the others."""
    say, answers = LOOSE[skill]
    text = say(rng, lang)
    while held_out(skill, lang, text) != kept:
        text = say(rng, lang)
    end = ("?" if lang == "en" else "？") if skill == "unknown" else "." if lang == "en" else "。"
    return Item(skill, lang, text + end, answers[lang])


class Corpus:
    def __init__(self):
        self.trained, self.kept = {}, {}
        for item in [*term_items(), *question_items(), *greeting_items(), *word_items(), *day_items(), *poem_items(), *story_items()]:
            side = self.kept if held_out(item.skill, item.lang, item.question) else self.trained
            # grouped by answer, so that an answer with many wordings is not asked more often than one with few
            side.setdefault((item.skill, item.lang), {}).setdefault(item.answer, []).append(item)
        self.groups = {key: list(by.values()) for key, by in self.trained.items()}

    def item(self, rng, lang, share):
        """One trained question in lang."""
        skill = rng.choices(list(share), list(share.values()))[0]
        if skill == "poems" and lang == "en" and rng.random() < 0.6:
            skill = "facts"
        if skill in LOOSE:
            return loose(rng, skill, lang, False)
        group = rng.choice(self.groups[skill, lang])
        if skill == "greetings" and rng.random() < 0.4:  # what most people type
            group = [item for item in group if item.question in COMMON] or group
        return rng.choice(group)

    def chat(self, rng, turns):
        """One chat: messages with roles system, user, assistant."""
        lang = rng.choice(("zh", "en"))
        style, messages = None, []
        spin = rng.random()
        if spin < 0.22:
            style, text = tone(rng, lang if rng.random() < 0.8 else rng.choice(("zh", "en")))
            if rng.random() < 0.2:
                text = styles.plain(rng, lang) + text
            messages.append(("system", text))
        elif spin < 0.40:
            messages.append(("system", styles.plain(rng, lang)))
        for number in range(turns):
            if rng.random() < 0.12:
                lang = "zh" if lang == "en" else "en"
            item = self.item(rng, lang, OPENING if number == 0 else SHARE)
            messages += [("user", typed(rng, item)), ("assistant", answer(rng, item, style))]
        return messages


def tone(rng, lang):
    """A trained system message for a tone, and the tone."""
    while True:
        style = rng.choice(list(styles.WRAP))
        text = styles.tone(style, lang, rng.randrange(1000), rng.randrange(1000))
        if not held_out("system", lang, text):
            return style, text


def answer(rng, item, style=None):
    text = stories.tell(rng, item.lang, item.answer) if item.skill == "stories" else item.answer
    return styles.apply(style, item.lang, text, item.brief) if item.styled else text


def proper(item):
    """The question as written with care."""
    text = item.question[0].upper() + item.question[1:] if item.lang == "en" else item.question
    if item.skill != "greetings":
        return text
    wording = item.question.split(",")[0].split("，")[0]  # without the name
    if item.lang == "en":
        return text + "?" if wording.startswith(("How", "Are ", "Is ", "What", "Do ")) else text
    return text + "？" if wording.endswith(("吗", "样", "如何")) else text


LEADS = {"en": ["Hello, ", "Hi, ", "Please, ", "Hey, ", "Well, ", "Hello! ", "Hi! ", "And "], "zh": ["你好，", "您好，", "嗨，", "那么，", "哎，", "你好！", "那"]}


def typed(rng, item):
    """The question as people type: with a lead, without its capital or its last mark."""
    text = proper(item)
    if item.skill == "greetings":
        text += rng.choice(ENDS[item.lang]) if text[-1] not in "?？" else ""
        hello = item.answer == GREETINGS[0][2][0 if item.lang == "en" else 1]
        lead = rng.choice(LEADS[item.lang]) if rng.random() < 0.15 and not hello else ""
    else:
        lead = rng.choice(LEADS[item.lang]) if rng.random() < 0.15 and item.skill != "poems" else ""
    if lead and item.lang == "en" and lead[-2] != "!" and item.question[0] != text[0]:
        text = item.question
    text = lead + text
    if rng.random() < 0.18:
        text = text.rstrip("?.!？。！") or text
    if rng.random() < 0.12:
        text = text.lower() if item.lang == "en" else text.replace("？", "?").replace("，", ",")
    return text


# ------------------------------------------------------------------------------------------------ held-out questions
WANTED = {"facts": 90, "identity": 18, "greetings": 30, "translation": 55, "capitals": 30, "opposites": 35, "colours": 20, "poems": 35,
          "days": 25, "unknown": 50, "stories": 6, "system": 35}
TRIES = 20  # to find a question that was not yet asked


def held_out_questions(corpus):
    """The questions of the test: dictionaries with skill, lang, messages (role, content) and answer ("" for a story: no one answer)."""
    out = {}
    for skill, count in WANTED.items():
        for lang in ("en", "zh"):
            rng = random.Random(f"{skill} {lang}")
            for _ in range(min(count, 12) if skill == "poems" and lang == "en" else count):
                for _ in range(TRIES):
                    q = question(corpus, rng, skill, lang)
                    key = (skill, *(m["content"] for m in q["messages"] if m["role"] == "system"), q["messages"][-1]["content"])
                    if key not in out:
                        out[key] = q
                        break
    return list(out.values())


def question(corpus, rng, skill, lang):
    messages, style = [], None
    if skill == "system":  # half of them change the tone, half must change nothing
        if rng.random() < 0.5:
            style, text = None, ""
            while not held_out("system", lang, text):
                style = rng.choice(list(styles.WRAP))
                text = styles.tone(style, lang, rng.randrange(1000), rng.randrange(1000))
        else:
            text = styles.plain(rng, lang)
        messages.append({"role": "system", "content": text})
    elif rng.random() < 0.25 and skill != "stories":  # two turns before it
        for _ in range(2):
            before = corpus.item(rng, lang, SHARE)
            while before.skill == "stories":
                before = corpus.item(rng, lang, SHARE)
            messages += [{"role": "user", "content": proper(before)}, {"role": "assistant", "content": before.answer}]
    item = kept(corpus, rng, skill if skill != "system" else rng.choice(("greetings", "identity", "facts", "capitals")), lang)
    messages.append({"role": "user", "content": proper(item)})
    expected = "" if skill == "stories" else answer(rng, item, style)
    return {"skill": skill, "lang": lang, "messages": messages, "answer": expected}


def kept(corpus, rng, skill, lang):
    """One held-out question of a skill."""
    if skill in LOOSE:
        return loose(rng, skill, lang, True)
    return rng.choice(rng.choice(list(corpus.kept[skill, lang].values())))


def write_held_out(path):
    with open(path, "w", encoding="utf-8") as f:
        for q in held_out_questions(Corpus()):
            f.write(json.dumps(q, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    import sys
    if len(sys.argv) != 2:
        sys.exit("usage: corpus.py HELDOUT.jsonl")
    write_held_out(sys.argv[1])
