"""Tiny stories from a grammar: a row of slots, each with several sentences, told about one hero. Some twenty sentences pass 150
tokens, and as each slot comes once and in order, a model that has learned the grammar does not fall into a loop."""

HEROES = [tuple(item.split("=")) for item in """cat=小猫 dog=小狗 rabbit=小兔子 bear=小熊 fox=小狐狸 panda=小熊猫 monkey=小猴子 bird=小鸟
mouse=小老鼠 tiger=小老虎 duck=小鸭子 dragon=小龙 robot=小机器人 fish=小鱼 horse=小马""".split()]
FRIENDS = [tuple(item.split("=")) for item in "frog=青蛙 crow=乌鸦 turtle=乌龟 sheep=绵羊 bee=蜜蜂 deer=小鹿 snail=蜗牛 goat=山羊".split()]
THINGS = [tuple(item.split("=")) for item in "key=钥匙 lamp=灯 bell=铃铛 boat=小船 kite=风筝 book=书 star=星星 flute=笛子".split()]

EN = """Once upon a time there was a little {hero}.|Long ago there lived a small {hero}.|There once was a young {hero}.
It lived in a green forest near a river.|Its home was a small house on a hill.|It lived at the edge of a quiet village.
Everybody liked it, for it was kind and brave.|It was very curious and never tired.|It was small, but its heart was big.
One morning the {hero} woke up early.|One fine day the sun was shining.|One day in spring it went for a walk.
The sky was blue and the wind was warm.|The birds were singing in the trees.|The grass was wet and the air was clear.
On the road it found an old {thing}.|Under a tree lay a golden {thing}.|In the water it saw a shining {thing}.
"Whose {thing} is this?" asked the {hero}.|"How beautiful this {thing} is!" said the {hero}.
It looked to the left and to the right, but nobody was there.|It waited for an hour, but nobody came.
So it took the {thing} and walked on.|So it put the {thing} into its bag and went on.
By the river it met a {friend}.|Behind the hill it met an old {friend}.|On the bridge sat a sad {friend}.
"Why do you cry?" asked the {hero}.|"What is wrong, my friend?" asked the {hero}.
"I have lost my {thing}," said the {friend}.|"Somebody took my {thing}," said the {friend}, "and I cannot find it."
"Without it I cannot go home," it said softly.|"My mother gave it to me," it said and wept.
The {hero} thought for a moment.|The {hero} smiled and opened its bag.
"Is this yours?" it asked and held up the {thing}.|"Look what I found today," it said and showed the {thing}.
The {friend} jumped for joy.|The {friend} laughed and danced in a circle.
"Thank you, thank you!" it cried.|"You are the best friend in the world!" it cried.
Then dark clouds came, and it began to rain.|Then the wind grew strong, and night fell.
They ran to a cave and made a small fire.|They hid under a big tree and waited together.
They ate some bread and told each other stories.|They shared an apple and sang old songs.
When the moon rose, the rain was over.|When the stars came out, all was quiet again.
Together they walked home through the forest.|Side by side they went back to the village.
From that day on the {hero} and the {friend} were friends.|Since then the two have met every day.
And the {hero} learned that giving is better than keeping.|And the {hero} knew that a friend is worth more than gold.
If you go to the forest today, you can hear them laugh.|And they lived happily for many years."""

ZH = """从前，有一只{hero}。|很久很久以前，住着一只{hero}。|森林里有一只可爱的{hero}。
它住在小河边的绿色树林里。|它的家是山坡上的一座小房子。|它住在一个安静的村庄旁边。
大家都喜欢它，因为它善良又勇敢。|它对什么都好奇，从来不觉得累。|它个子很小，心却很大。
有一天早上，{hero}很早就醒了。|一个晴朗的日子，太阳照着大地。|春天的一天，它出门去散步。
天空很蓝，风也很暖和。|鸟儿在树上唱歌。|草地湿湿的，空气很清新。
在路上，它捡到一个旧旧的{thing}。|在大树下面，放着一个金色的{thing}。|在水里，它看见一个发光的{thing}。
“这是谁的{thing}呢？”{hero}问。|“多么漂亮的{thing}啊！”{hero}说。
它左看看，右看看，可是一个人也没有。|它等了一个小时，可是谁也没有来。
于是它拿起{thing}，继续往前走。|于是它把{thing}放进包里，又上路了。
在河边，它遇见了一只{friend}。|在山后面，它遇见了一只年老的{friend}。|桥上坐着一只伤心的{friend}。
“你为什么哭呢？”{hero}问。|“我的朋友，你怎么了？”{hero}问。
“我丢了我的{thing}。”{friend}说。|“有人拿走了我的{thing}，我找不到了。”{friend}说。
“没有它，我就不能回家。”它轻轻地说。|“那是妈妈送给我的。”它边哭边说。
{hero}想了一会儿。|{hero}笑了笑，打开了自己的包。
“这是你的吗？”它举起{thing}问。|“看看我今天找到了什么。”它拿出{thing}说。
{friend}高兴得跳了起来。|{friend}笑了，转着圈跳起舞来。
“谢谢你，谢谢你！”它喊道。|“你是世界上最好的朋友！”它喊道。
忽然乌云来了，下起了大雨。|忽然风大了起来，天也黑了。
它们跑进一个山洞，点起了一小堆火。|它们躲在一棵大树下，一起等着。
它们吃了一点面包，互相讲故事。|它们分吃一个苹果，唱起了老歌。
月亮升起来的时候，雨停了。|星星出来的时候，一切又安静了。
它们一起穿过树林走回家。|它们手拉着手回到了村庄。
从那天起，{hero}和{friend}成了好朋友。|从此以后，它们每天都见面。
{hero}明白了，给予比得到更快乐。|{hero}知道了，朋友比黄金更珍贵。
如果你今天去森林，还能听见它们的笑声。|它们就这样快乐地生活了很多年。"""


def tell(rng, lang, hero=None):
    """One story; hero is an index into HEROES, or any."""
    side = 0 if lang == "en" else 1
    hero = rng.randrange(len(HEROES)) if hero is None else hero
    names = {"hero": HEROES[hero][side], "friend": rng.choice(FRIENDS)[side], "thing": rng.choice(THINGS)[side]}
    slots = (EN if lang == "en" else ZH).split("\n")
    return (" " if lang == "en" else "").join(rng.choice(slot.split("|")).format(**names) for slot in slots)
