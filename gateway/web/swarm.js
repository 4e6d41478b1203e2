import { mountSwitches } from "./frame.js";
import { speak } from "./i18n.js";

mountSwitches(document.getElementById("switches"));
speak();
