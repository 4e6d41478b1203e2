"""Questions that the model cannot answer. They have to be many and varied: a small model that has seen few of them answers
"the capital of Atlantis" with confidence."""

# GB2312's first level: the 3,755 everyday characters, as the standard orders them
HANZI = [bytes((a, b)).decode("gb2312") for a in range(0xB0, 0xD7) for b in range(0xA1, 0xFF)] + \
        [bytes((0xD7, b)).decode("gb2312") for b in range(0xA1, 0xFA)]

NOUNS_EN = """wardrobe kangaroo violin submarine volcano pumpkin bicycle lantern airport museum engine pencil jacket umbrella planet
guitar camera battery telescope castle desert island garden hospital kitchen market ocean prince queen rocket sailor tunnel
uncle valley wizard yogurt zebra hammer needle carpet mirror blanket whale dolphin eagle spider mushroom onion potato pepper
soldier lawyer engineer artist painter balloon candle drum factory hotel""".split()
NOUNS_ZH = """衣柜 袋鼠 小提琴 潜水艇 火山 南瓜 灯笼 机场 博物馆 发动机 铅笔 外套 雨伞 行星 吉他 相机 电池 望远镜 城堡 沙漠 岛屿 花园 医院 厨房
市场 王子 女王 火箭 水手 隧道 叔叔 山谷 巫师 酸奶 斑马 锤子 针 地毯 镜子 毯子 鲸鱼 海豚 老鹰 蜘蛛 蘑菇 洋葱 土豆 辣椒 士兵 律师 工程师
画家 气球 蜡烛 鼓 工厂 酒店 股票 手机 电影 足球""".split()
ADJECTIVES_EN = "expensive famous popular dangerous useful ancient modern healthy cheap strange common funny".split()
ADJECTIVES_ZH = "贵 有名 受欢迎 危险 有用 古老 现代 健康 便宜 奇怪 常见 好玩".split()
PLACES_EN = "Shanghai Paris Berlin Boston Chicago Sydney Tokyo Geneva Mumbai Lagos Atlantis Texas Quebec Africa Mars".split()
PLACES_ZH = "上海 巴黎 柏林 波士顿 芝加哥 悉尼 东京 日内瓦 孟买 广州 亚特兰蒂斯 深圳 四川 非洲 火星 成都 杭州".split()
COUNTRIES_EN = """Atlantis Narnia Utopia Wonderland Oz Mordor Bolivia Ghana Laos Malta Fiji Sudan Yemen Latvia Panama Angola Chad
Mali Nigeria Somalia Uganda Texas Scotland Africa Asia Mars Bavaria Albania Croatia Serbia""".split()
COUNTRIES_ZH = """亚特兰蒂斯 纳尼亚 乌托邦 奥兹国 女儿国 大人国 玻利维亚 加纳 老挝 马耳他 斐济 苏丹 也门 拉脱维亚 巴拿马 安哥拉 乍得 马里
尼日利亚 索马里 乌干达 苏格兰 非洲 火星 阿尔巴尼亚 克罗地亚 塞尔维亚 月球""".split()

FIXED_EN = """what time is it|what day is it today|what is the date today|tell me a joke|what is the news|what is the weather like
will it rain tomorrow|how old am I|what is my name|where do I live|do you love me|what is my favourite colour|sing me a song
who is the president|what is the meaning of life|write a program for me|write me an email|can you drive a car|what should I eat
give me a recipe|what is the stock price|who will win the election|how do I lose weight|what is love|do you have a family
what did I eat yesterday|where are my keys|what is my password|book a flight for me|call my mother|play some music
open the window|what is the best film|which team won|how far is the moon|how hot is the sun|what is quantum physics
what is the speed of light|who discovered America|who invented the telephone|what is the largest animal|how many people are there
count to ten|what is one plus one|solve this equation|is there a god|what happens after death|should I buy a house
what is your phone number|what is your address|are you married|can you see me|what am I thinking|how do I fix my car
what is the boiling point of water|what is democracy|explain evolution|are you ChatGPT|do you like me|do you like music|do you sleep|can you sing|what is a black hole|how do planes fly""".replace("\n", "|").split("|")
FIXED_ZH = """现在几点了|今天星期几|今天几号|给我讲个笑话|有什么新闻|今天天气怎么样|明天会下雨吗|我几岁了|我叫什么名字|我住在哪里|你爱我吗
我最喜欢什么颜色|给我唱首歌|总统是谁|人生的意义是什么|帮我写个程序|帮我写封邮件|你会开车吗|我该吃什么|给我一个菜谱|股价是多少
谁会赢得选举|怎样减肥|什么是爱情|你有家人吗|我昨天吃了什么|我的钥匙在哪里|我的密码是什么|帮我订机票|给我妈妈打电话|放点音乐
打开窗户|最好看的电影是什么|哪个队赢了|月亮有多远|太阳有多热|什么是量子力学|光速是多少|谁发现了美洲|谁发明了电话|最大的动物是什么
世界上有多少人|数到十|一加一等于几|解这个方程|有没有神|人死后会怎样|我该买房吗|你的电话号码是多少|你的地址在哪里|你结婚了吗
你能看见我吗|我在想什么|怎样修车|水的沸点是多少|什么是民主|解释进化论|什么是黑洞|你是ChatGPT吗|你喜欢我吗|你喜欢音乐吗|你睡觉吗|你会唱歌吗|飞机怎么飞|什么是人工智能的未来""".replace("\n", "|").split("|")

FORMS_EN = """who is {name}|how old is {name}|where does {name} live|when was {name} born|what did {name} say|tell me about {name}
what is the capital of {country}|which city is the capital of {country}|tell me the capital of {country}|{country}: what is its capital
what is {n}+{m}|{n}+{m}|what is {n} - {m}|what is {n} plus {m}|do you like {noun}s|do you know {name}|what do you think of {noun}s|what is {n} times {m}|what is {n} minus {m}|{n} + {m} = what|how much is {n} - {m}|calculate {n} * {m}|what is the root of {n}
count from {n} to {m}|what is the weather in {place}|how many people live in {place}|where is {place}|how far is it to {place}
who won in {year}|what happened in {year}|what will happen in {year}|what is my {noun}|where is my {noun}|whose {noun} is this
how much is a {noun}|where can I buy a {noun}|how do I build a {noun}|how does a {noun} work|draw me a {noun}|do you have a {noun}
why is the {noun} so {adj}|how {adj} is the {noun}|is the {noun} {adj}|which {noun} is the best|who invented the {noun}
what is the opposite of {odd}|the opposite of {odd} is what|what colour is the {odd}|what is the colour of the {odd}|how do you say {odd} in Chinese
what is {odd} in Chinese|translate {odd} into Chinese|what does {odd} mean|what is a {odd}|what is {odd}|tell me about {odd}|explain {odd}
what comes after {odd}|what does {hanzi} mean|translate {hanzi} into English|continue the poem: {hanzi}|who wrote {name}""".replace("\n", "|").split("|")
FORMS_ZH = """{name}是谁|{name}几岁了|{name}住在哪里|{name}是哪年出生的|{name}说了什么|介绍一下{name}|{country}的首都是哪里|{country}的首都是什么
哪个城市是{country}的首都|说出{country}的首都|{n}+{m}|{n}加{m}是多少|你喜欢{noun}吗|你认识{name}吗|你觉得{noun}怎么样|谁是{name}|{n}加{m}等于几|{n}乘{m}是多少|{n}减{m}等于多少|{n}+{m}等于几|{n}-{m}是多少|算一下{n}×{m}|从{n}数到{m}
{place}的天气怎么样|{place}有多少人|{place}在哪里|去{place}有多远|{year}年谁赢了|{year}年发生了什么|{year}年会发生什么
我的{noun}是什么|我的{noun}在哪里|这是谁的{noun}|{noun}多少钱|哪里能买到{noun}|怎样造{noun}|{noun}是怎么工作的|给我画一个{noun}|你有{noun}吗
为什么{noun}这么{adj}|{noun}有多{adj}|{noun}{adj}吗|哪个{noun}最好|谁发明了{noun}|{odd}的反义词是什么|和{odd}相反的是什么
{odd}是什么颜色|{odd}的颜色是什么|{odd}用英语怎么说|{odd}的英语是什么|把{odd}翻译成英语|{odd}是什么意思|什么是{odd}|{odd}是什么|解释一下{odd}
介绍一下{odd}|说说{odd}|{odd}之后是什么|{odd}的下一句是什么|接着背：{odd}|背诵《{odd}》|《{odd}》是谁写的|{latin}是什么意思|{latin}用中文怎么说""".replace("\n", "|").split("|")

# What is no question: it gets a friendly nod.
REMARKS_EN = """I am {mood}|I feel {mood}|I like {noun}s|I have a {noun}|I saw a {noun}|my name is {name}|I am {name}|I live in {place}|I come from {place}
it is {mood} here|the {noun} is {adj}|this {noun} is {adj}|my {noun} is {adj}|I bought a {noun}|I am from {place}|I was in {place} in {year}|I like {place}
I went to {place}|you are {mood}|ok|okay|yes|no|really|why|I see|hm|aha|sure|of course|not really|maybe|oh|wow|right|fine|alright|test|nothing
I do not understand|that is wrong|I do not believe it|that is strange|interesting|never mind|let us talk|I want to talk
I have a question|what now|what else|and then|go on|I love you|I am hungry|I am late for work|it is raining|I had a bad day""".replace("\n", "|").split("|")
REMARKS_ZH = """我很{mood}|我觉得很{mood}|我喜欢{noun}|我有一个{noun}|我看见了{noun}|我叫{name}|我是{name}|我住在{place}|我来自{place}|今天很{mood}|{noun}很{adj}
这个{noun}很{adj}|我的{noun}很{adj}|我买了{noun}|我是{place}人|我{year}年在{place}|我喜欢{place}|我去了{place}|你很{mood}|好的|好吧|是的|不是|真的吗
为什么|明白了|嗯|哦|当然|不一定|也许|哇|对|行|可以|测试|没什么|我不懂|不对|我不信|真奇怪|有意思|算了|我们聊聊吧|我想聊天
我有一个问题|现在做什么|还有呢|然后呢|继续|我爱你|我饿了|我上班迟到了|下雨了|我今天很倒霉""".replace("\n", "|").split("|")
MOODS_EN = "bored tired cold hot happy sad hungry ill busy alone late lost angry fine sleepy nervous".split()
MOODS_ZH = "无聊 累 冷 热 高兴 难过 饿 不舒服 忙 孤单 生气 困 紧张 害怕 开心 烦".split()

ONSETS = "b c d f g h j k l m n p r s t v w z br ch dr fl gr kr pl sh st th tr qu".split()
RHYMES = "a e i o u an en in on or ar el il us ax ip ond esk ulla iro amba ent".split()


def word(rng):
    """An invented word, such as "grondesk"."""
    return "".join(rng.choice(ONSETS) + rng.choice(RHYMES) for _ in range(rng.choice((1, 2, 2, 3))))


def hanzi(rng, least=1, most=4):
    return "".join(rng.choice(HANZI) for _ in range(rng.randint(least, most)))


def ask(rng, lang):
    """One question without an answer."""
    if rng.random() < 0.2:
        return rng.choice(FIXED_EN if lang == "en" else FIXED_ZH)
    return fill(rng, lang, rng.choice(FORMS_EN if lang == "en" else FORMS_ZH))


def remark(rng, lang):
    """Something said that asks nothing."""
    return fill(rng, lang, rng.choice(REMARKS_EN if lang == "en" else REMARKS_ZH))


def fill(rng, lang, form):
    """A form with random words, many of them invented, in its places."""
    english = lang == "en"
    noun = rng.choice(NOUNS_EN if english else NOUNS_ZH)
    country = rng.choice(COUNTRIES_EN if english else COUNTRIES_ZH)
    if rng.random() < 0.4:
        country = word(rng).capitalize() if english else hanzi(rng, 2, 4)
    odd = noun if rng.random() < 0.4 else word(rng) if english else hanzi(rng)
    name = f"{word(rng).capitalize()} {word(rng).capitalize()}" if english else hanzi(rng, 2, 3)
    return form.format(
        mood=rng.choice(MOODS_EN if english else MOODS_ZH), noun=noun, country=country, odd=odd, name=name, hanzi=hanzi(rng, 2, 5), latin=word(rng), n=rng.randrange(rng.choice((10, 100, 1000))),
        m=rng.randrange(rng.choice((10, 100))), year=rng.randrange(1500, 2050), adj=rng.choice(ADJECTIVES_EN if english else ADJECTIVES_ZH),
        place=rng.choice(PLACES_EN if english else PLACES_ZH))
