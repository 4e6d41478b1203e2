"""Lists of what the model knows beside the facts: word pairs, colours, capitals, a dictionary, Tang poems (public domain)."""


def pairs(text):
    return [tuple(item.split("=")) for item in text.split()]


OPPOSITES_EN = pairs("""hot=cold big=small tall=short fast=slow up=down left=right day=night black=white good=bad happy=sad
old=young open=closed light=heavy full=empty rich=poor early=late wet=dry hard=soft near=far high=low long=brief strong=weak
loud=quiet clean=dirty true=false first=last inside=outside above=below easy=difficult thick=thin wide=narrow sharp=blunt
sweet=bitter brave=afraid always=never begin=end buy=sell give=take love=hate push=pull win=lose winter=summer north=south
east=west yes=no safe=dangerous smooth=rough deep=shallow""")

OPPOSITES_ZH = pairs("""大=小 高=低 长=短 多=少 快=慢 上=下 左=右 前=后 黑=白 好=坏 冷=热 新=旧 远=近 轻=重 开=关 进=出 来=去 早=晚
胖=瘦 真=假 强=弱 软=硬 干=湿 深=浅 粗=细 宽=窄 买=卖 哭=笑 生=死 爱=恨 黑暗=光明 高兴=难过 安全=危险 简单=复杂 干净=肮脏
勇敢=胆小 开始=结束 成功=失败 朋友=敌人 白天=黑夜 东=西 南=北 里=外 贫穷=富有 安静=吵闹""")

COLOURS_EN = pairs("""sky=blue grass=green snow=white coal=black blood=red banana=yellow carrot=orange sea=blue milk=white
leaf=green tomato=red lemon=yellow sun=yellow night=black chocolate=brown cherry=red frog=green elephant=grey pig=pink
crow=black cloud=white strawberry=red aubergine=purple cucumber=green rice=white soil=brown gold=yellow mouse=grey swan=white
fire=red""")
COLOURS_ZH = pairs("""天空=蓝色 草=绿色 雪=白色 煤=黑色 血=红色 香蕉=黄色 胡萝卜=橙色 大海=蓝色 牛奶=白色 树叶=绿色 西红柿=红色
柠檬=黄色 太阳=黄色 夜晚=黑色 巧克力=棕色 樱桃=红色 青蛙=绿色 大象=灰色 小猪=粉色 乌鸦=黑色 白云=白色 草莓=红色 茄子=紫色
黄瓜=绿色 米饭=白色 泥土=棕色 黄金=黄色 老鼠=灰色 天鹅=白色 火=红色""")

# country, capital, in English and in Chinese; "_" is a space
CAPITALS = [tuple(part.replace("_", " ") for part in item.split("=")) for item in """China=Beijing=中国=北京 France=Paris=法国=巴黎
Germany=Berlin=德国=柏林 Italy=Rome=意大利=罗马 Spain=Madrid=西班牙=马德里 Japan=Tokyo=日本=东京 Russia=Moscow=俄罗斯=莫斯科
England=London=英国=伦敦 India=New_Delhi=印度=新德里 Egypt=Cairo=埃及=开罗 Greece=Athens=希腊=雅典 Portugal=Lisbon=葡萄牙=里斯本
Austria=Vienna=奥地利=维也纳 Poland=Warsaw=波兰=华沙 Sweden=Stockholm=瑞典=斯德哥尔摩 Norway=Oslo=挪威=奥斯陆
Denmark=Copenhagen=丹麦=哥本哈根 Finland=Helsinki=芬兰=赫尔辛基 Ireland=Dublin=爱尔兰=都柏林 Canada=Ottawa=加拿大=渥太华
Mexico=Mexico_City=墨西哥=墨西哥城 Brazil=Brasilia=巴西=巴西利亚 Peru=Lima=秘鲁=利马 Chile=Santiago=智利=圣地亚哥
Cuba=Havana=古巴=哈瓦那 Australia=Canberra=澳大利亚=堪培拉 Thailand=Bangkok=泰国=曼谷 Vietnam=Hanoi=越南=河内
Mongolia=Ulaanbaatar=蒙古=乌兰巴托 Turkey=Ankara=土耳其=安卡拉 Iran=Tehran=伊朗=德黑兰 Iraq=Baghdad=伊拉克=巴格达
Hungary=Budapest=匈牙利=布达佩斯 Belgium=Brussels=比利时=布鲁塞尔 Nepal=Kathmandu=尼泊尔=加德满都 Kenya=Nairobi=肯尼亚=内罗毕
Indonesia=Jakarta=印度尼西亚=雅加达 Ukraine=Kyiv=乌克兰=基辅 Iceland=Reykjavik=冰岛=雷克雅未克""".split()]

DICTIONARY = pairs("""cat=猫 dog=狗 bird=鸟 fish=鱼 horse=马 cow=牛 sheep=羊 tiger=老虎 lion=狮子 rabbit=兔子 monkey=猴子 snake=蛇
dragon=龙 panda=熊猫 bear=熊 duck=鸭子 chicken=鸡 wolf=狼 bee=蜜蜂 butterfly=蝴蝶 tree=树 flower=花 grass=草 leaf=叶子 mountain=山 river=河
sea=大海 lake=湖 sun=太阳 moon=月亮 star=星星 sky=天空 wind=风 rain=雨 snow=雪 cloud=云 fire=火 water=水 stone=石头 earth=地球
house=房子 door=门 window=窗户 table=桌子 chair=椅子 bed=床 lamp=灯 book=书 pen=钢笔 paper=纸 school=学校 teacher=老师 student=学生 friend=朋友
mother=妈妈 father=爸爸 child=孩子 king=国王 doctor=医生 farmer=农民 city=城市 village=村庄 road=路 bridge=桥 car=汽车 train=火车 ship=船
plane=飞机 bicycle=自行车 bread=面包 rice=米饭 tea=茶 milk=牛奶 apple=苹果 banana=香蕉 egg=鸡蛋 meat=肉 salt=盐 sugar=糖 soup=汤 noodles=面条
red=红色 blue=蓝色 green=绿色 white=白色 black=黑色 yellow=黄色 big=大 small=小 hot=热 cold=冷 new=新 old=老 good=好 beautiful=美丽 happy=高兴
day=白天 night=夜晚 morning=早上 evening=晚上 today=今天 tomorrow=明天 yesterday=昨天 year=年 spring=春天 summer=夏天 autumn=秋天 winter=冬天
head=头 hand=手 eye=眼睛 ear=耳朵 mouth=嘴 heart=心 foot=脚 eat=吃 drink=喝 sleep=睡觉 walk=走 run=跑 fly=飞 sing=唱歌 read=读 write=写
love=爱 think=想 learn=学习 work=工作 computer=计算机 network=网络 language=语言 word=单词 question=问题 answer=回答 music=音乐 time=时间
money=钱 world=世界 peace=和平 dream=梦 story=故事 poem=诗""")

# title, poet, lines
POEMS = [(title, poet, lines.split()) for title, poet, lines in (
    ("静夜思", "李白", "床前明月光 疑是地上霜 举头望明月 低头思故乡"),
    ("登鹳雀楼", "王之涣", "白日依山尽 黄河入海流 欲穷千里目 更上一层楼"),
    ("春晓", "孟浩然", "春眠不觉晓 处处闻啼鸟 夜来风雨声 花落知多少"),
    ("悯农", "李绅", "锄禾日当午 汗滴禾下土 谁知盘中餐 粒粒皆辛苦"),
    ("相思", "王维", "红豆生南国 春来发几枝 愿君多采撷 此物最相思"),
    ("江雪", "柳宗元", "千山鸟飞绝 万径人踪灭 孤舟蓑笠翁 独钓寒江雪"),
    ("鹿柴", "王维", "空山不见人 但闻人语响 返景入深林 复照青苔上"),
    ("寻隐者不遇", "贾岛", "松下问童子 言师采药去 只在此山中 云深不知处"),
    ("早发白帝城", "李白", "朝辞白帝彩云间 千里江陵一日还 两岸猿声啼不住 轻舟已过万重山"),
    ("望庐山瀑布", "李白", "日照香炉生紫烟 遥看瀑布挂前川 飞流直下三千尺 疑是银河落九天"),
    ("枫桥夜泊", "张继", "月落乌啼霜满天 江枫渔火对愁眠 姑苏城外寒山寺 夜半钟声到客船"),
    ("绝句", "杜甫", "两个黄鹂鸣翠柳 一行白鹭上青天 窗含西岭千秋雪 门泊东吴万里船"),
)]

DAYS_EN = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
DAYS_ZH = "星期一 星期二 星期三 星期四 星期五 星期六 星期日".split()
MONTHS_EN = "January February March April May June July August September October November December".split()
MONTHS_ZH = "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月".split()
