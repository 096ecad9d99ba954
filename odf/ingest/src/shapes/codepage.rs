//! How the text of a dBASE table is written: the code pages that a `.cpg` names, or the language byte of the `.dbf`.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use crate::source::{Problem, shorten};

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodePage {
    /// Nothing says how: as UTF-8, or if it is not that, as Windows-1252.
    Unknown,
    /// One that has other characters than ASCII in two or more bytes, or that Windows has.
    Encoding(&'static Encoding),
    /// One of DOS or of the Macintosh: its number, and the characters of the bytes from 0x80 up.
    HighHalf(u16, &'static str),
}

impl CodePage {
    /// From the content of a `.cpg`.
    pub(super) fn named(name: &str) -> Result<CodePage, Problem> {
        let name = name.trim_start_matches('\u{feff}').trim();
        if name.is_empty() {
            return Ok(CodePage::Unknown);
        }
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let letters = letters.to_ascii_uppercase();
        let number = ["WINDOWS", "ANSI", "OEM", "DOS", "IBM", "CP", "MS", ""]
            .into_iter()
            .find_map(|prefix| letters.strip_prefix(prefix)?.parse().ok());
        let page = number.and_then(CodePage::numbered).or_else(|| {
            // ESRI writes `88591` for ISO 8859-1, `UTF8` for UTF-8.
            let label = match letters.strip_prefix("ISO").unwrap_or(&letters).strip_prefix("8859") {
                Some(part) => format!("iso-8859-{part}"),
                None => name.to_owned(),
            };
            let encoding = Encoding::for_label(label.as_bytes())?;
            encoding.is_ascii_compatible().then_some(CodePage::Encoding(encoding))
        });
        page.ok_or_else(|| {
            Problem::Syntax(format!(
                "the attributes are in the code page `{}`, which is not known; write them as UTF-8, with `UTF-8` in the \
                 .cpg file",
                shorten(name)
            ))
        })
    }

    /// From the language byte of a `.dbf`, the thirtieth: the language drivers of dBASE, FoxPro and their kin.
    pub(super) fn of_language(byte: u8) -> Result<CodePage, Problem> {
        let number = match byte {
            0x00 => return Ok(CodePage::Unknown),
            0x01 | 0x09 | 0x0b | 0x0d | 0x0f | 0x11 | 0x15 | 0x18 | 0x19 | 0x1b => 437,
            0x02 | 0x0a | 0x0e | 0x10 | 0x12 | 0x14 | 0x16 | 0x1a | 0x1d | 0x25 | 0x37 => 850,
            // 0x57 is the ANSI page of the machine that wrote it; where it was another than 1252, a `.cpg` says so.
            0x03 | 0x57..=0x59 => 1252,
            0x04 => 10000,
            0x08 | 0x17 | 0x66 => 865,
            0x13 | 0x7b => 932,
            0x1c | 0x6c => 863,
            0x1f | 0x22 | 0x23 | 0x40 | 0x64 | 0x87 => 852,
            0x24 => 860,
            0x26 | 0x65 => 866,
            0x4d | 0x7a => 936,
            0x4e | 0x79 => 949,
            0x4f | 0x78 => 950,
            0x50 | 0x7c => 874,
            0x67 => 861,
            0x68 => 895,
            0x69 => 620,
            0x6a | 0x86 => 737,
            0x6b | 0x88 => 857,
            0x7d => 1255,
            0x7e => 1256,
            0x96 => 10007,
            0x97 => 10029,
            0x98 => 10006,
            0xc8 => 1250,
            0xc9 => 1251,
            0xca => 1254,
            0xcb => 1253,
            0xcc => 1257,
            0xf0 => 65001,
            _ => 0,
        };
        CodePage::numbered(number).ok_or_else(|| {
            Problem::Syntax(format!(
                "the .dbf says by its language byte 0x{byte:02x} in which code page its text is, and that one is not \
                 known; add a .cpg file that names it"
            ))
        })
    }

    /// By the number that Windows gives it.
    fn numbered(number: u32) -> Option<CodePage> {
        let label = match number {
            866 => "ibm866",
            874 => "windows-874",
            932 => "shift_jis",
            936 => "gbk",
            949 => "euc-kr",
            950 => "big5",
            1250..=1258 => return Encoding::for_label(format!("windows-{number}").as_bytes()).map(CodePage::Encoding),
            10000 => "macintosh",
            10007 => "x-mac-cyrillic",
            20866 => "koi8-r",
            21866 => "koi8-u",
            28591..=28606 => {
                let label = format!("iso-8859-{}", number - 28590);
                return Encoding::for_label(label.as_bytes()).map(CodePage::Encoding);
            }
            54936 => "gb18030",
            65001 => return Some(CodePage::Encoding(UTF_8)),
            number => {
                let found = HIGH_HALVES.iter().find(|(known, _)| u32::from(*known) == number);
                return found.map(|(number, high)| CodePage::HighHalf(*number, high));
            }
        };
        Encoding::for_label(label.as_bytes()).map(CodePage::Encoding)
    }

    /// The text of some bytes.
    ///
    /// # Errors
    /// They are no text in this code page.
    pub(super) fn decode(self, bytes: &[u8]) -> Result<String, Problem> {
        let whole = |encoding: &'static Encoding| encoding.decode_without_bom_handling_and_without_replacement(bytes);
        let (text, name) = match self {
            CodePage::Unknown => (whole(UTF_8).or_else(|| whole(WINDOWS_1252)), "UTF-8".to_owned()),
            CodePage::Encoding(encoding) => (whole(encoding), encoding.name().to_owned()),
            CodePage::HighHalf(number, high) => {
                let text = bytes.iter().map(|byte| match byte.checked_sub(0x80) {
                    None => Some(char::from(*byte)),
                    Some(at) => high
                        .chars()
                        .nth(usize::from(at))
                        .filter(|c| *c != char::REPLACEMENT_CHARACTER),
                });
                let text: Option<String> = text.collect();
                (text.map(Into::into), format!("code page {number}"))
            }
        };
        let text = text.ok_or_else(|| Problem::NotType {
            value: bytes.escape_ascii().take(SHOWN_BYTES).map(char::from).collect(),
            expected: format!("text in {name}"),
        })?;
        Ok(text.into_owned())
    }
}

/// How much of bytes that are no text a message shows.
const SHOWN_BYTES: usize = 60;

/// The upper halves of the code pages of DOS and of the Macintosh that nothing else here knows, by their numbers. U+FFFD
/// stands where a page has no character.
const HIGH_HALVES: [(u16, &str); 13] = [
    (
        437,
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        620,
        "ÇüéâäàąçêëèïîćÄĄĘęłôöĆûùŚÖÜ¢Ł¥śƒŹŻóÓńŃźż¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        737,
        "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρσςτυφχψ░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀ωάέήϊίόύϋώΆΈΉΊΌΎΏ±≥≤ΪΫ÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        850,
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
         └┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}",
    ),
    (
        852,
        "ÇüéâäůćçłëŐőîŹÄĆÉĹĺôöĽľŚśÖÜŤťŁ×čáíóúĄąŽžĘę¬źČş«»░▒▓│┤ÁÂĚŞ╣║╗╝Żż┐\
         └┴┬├─┼Ăă╚╔╩╦╠═╬¤đĐĎËďŇÍÎě┘┌█▄ŢŮ▀ÓßÔŃńňŠšŔÚŕŰýÝţ´\u{ad}˝˛ˇ˘§÷¸°¨˙űŘř■\u{a0}",
    ),
    (
        857,
        "ÇüéâäàåçêëèïîıÄÅÉæÆôöòûùİÖÜø£ØŞşáíóúñÑĞğ¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
         └┴┬├─┼ãÃ╚╔╩╦╠═╬¤ºªÊËÈ\u{fffd}ÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµ\u{fffd}×ÚÛÙìÿ¯´\u{ad}±\u{fffd}¾¶§÷¸°¨·¹³²■\u{a0}",
    ),
    (
        860,
        "ÇüéâãàÁçêÊèÍÔìÃÂÉÀÈôõòÚùÌÕÜ¢£Ù₧ÓáíóúñÑªº¿Ò¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        861,
        "ÇüéâäàåçêëèÐðÞÄÅÉæÆôöþûÝýÖÜø£Ø₧ƒáíóúÁÍÓÚ¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        863,
        "ÇüéâÂà¶çêëèïî‗À§ÉÈÊôËÏûù¤ÔÜ¢£ÙÛƒ¦´óú¨¸³¯Î⌐¬½¼¾«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        865,
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø₧ƒáíóúñÑªº¿⌐¬½¼¡«¤░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        895,
        "ČüéďäĎŤčěĚĹÍľĺÄÁÉžŽôöÓůÚýÖÜŠĽÝŘťáíóúňŇŮÔšřŕŔ¼§«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
    (
        10006,
        "Ä¹²É³ÖÜ΅àâä΄¨çéèêë£™îï•½‰ôö¦€ùûü†ΓΔΘΛΞΠß®©ΣΪ§≠°·Α±≤≥¥ΒΕΖΗΙΚΜΦΫΨΩ\
         άΝ¬ΟΡ≈Τ«»…\u{a0}ΥΧΆΈœ–―“”‘’÷ΉΊΌΎέήίόΏύαβψδεφγηιξκλμνοπώρστθωςχυζϊϋΐΰ\u{ad}",
    ),
    (
        10029,
        "ÄĀāÉĄÖÜáąČäčĆćéŹźĎíďĒēĖóėôöõúĚěü†°Ę£§•¶ß®©™ę¨≠ģĮįĪ≤≥īĶ∂∑łĻļĽľĹĺŅ\
         ņŃ¬√ńŇ∆«»…\u{a0}ňŐÕőŌ–—“”‘’÷◊ōŔŕŘ‹›řŖŗŠ‚„šŚśÁŤťÍŽžŪÓÔūŮÚůŰűŲųÝýķŻŁżĢˇ",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(language: u8, bytes: &[u8]) -> String {
        CodePage::of_language(language).unwrap().decode(bytes).unwrap()
    }

    #[test]
    fn the_language_byte_says_how_text_is_written() {
        for (language, bytes, text) in [
            (0x01, &b"\x84\x94\x81\xe1"[..], "äöüß"),
            (0x02, b"\x9b\xd0", "øð"),
            (0x03, b"\x80\xfc", "€ü"),
            (0x04, b"\x8e\xd5", "é’"),
            (0x08, b"\x9b\x9d", "øØ"),
            (0x13, b"\x93\x8c\x8b\x9e", "東京"),
            (0x1c, b"\x82\x84", "éÂ"),
            (0x1f, b"\xfd\x9f", "řč"),
            (0x24, b"\x84\x94", "ãõ"),
            (0x26, b"\x8c\xae\xe1\xaa\xa2\xa0", "Москва"),
            (0x4d, b"\xb1\xb1\xbe\xa9", "北京"),
            (0x4e, b"\xbc\xad\xbf\xef", "서울"),
            (0x4f, b"\xa5\x78\xa5\x5f", "台北"),
            (0x50, b"\xa1\xc3", "กร"),
            (0x57, b"\x93x\x94", "“x”"),
            (0x67, b"\x8d\x95", "Þþ"),
            (0x68, b"\xa9\x87\x91", "řčž"),
            (0x69, b"\xa7\xa2\x92\x86", "żółą"),
            (0x6a, b"\x80\x98", "Αα"),
            (0x6b, b"\xa7\x98", "ğİ"),
            (0x7d, b"\xf9\xec", "של"),
            (0x7e, b"\xe3", "م"),
            (0x96, b"\x8c\xee", "Мо"),
            (0x97, b"\xde\x8b", "řč"),
            (0x98, b"\xe1\xe2", "αβ"),
            (0xc8, b"\xf8\xe8", "řč"),
            (0xc9, b"\xcc\xee", "Мо"),
            (0xca, b"\xf0\xdd", "ğİ"),
            (0xcb, b"\xe1\xe2", "αβ"),
            (0xcc, b"\xf0\xe0", "šą"),
            (0xf0, "東京".as_bytes(), "東京"),
        ] {
            assert_eq!(decoded(language, bytes), text, "0x{language:02x}");
            assert_eq!(decoded(language, b"plain ~"), "plain ~");
        }
        for (_, high) in HIGH_HALVES {
            assert_eq!(high.chars().count(), 128);
        }
        let error = CodePage::of_language(0x77).unwrap_err().to_string();
        assert!(
            error.contains("language byte 0x77") && error.contains(".cpg"),
            "{error}"
        );
    }

    #[test]
    fn code_pages_have_many_names() {
        for (name, bytes, text) in [
            ("UTF-8", "é".as_bytes(), "é"),
            ("utf8\r\n", "é".as_bytes(), "é"),
            ("65001", "é".as_bytes(), "é"),
            ("1252", b"\x80", "€"),
            ("ANSI 1251", b"\xcc", "М"),
            ("windows-1250", b"\xf8", "ř"),
            ("ISO 88591", b"\xe9", "é"),
            ("ISO-8859-2", b"\xf8", "ř"),
            ("88592", b"\xf8", "ř"),
            ("OEM 437", b"\x84", "ä"),
            ("CP932", b"\x93\x8c", "東"),
            ("SJIS", b"\x93\x8c", "東"),
            ("Big5", b"\xa5\x78", "台"),
            ("EUC-KR", b"\xbc\xad", "서"),
            ("KOI8-R", b"\xed", "М"),
        ] {
            assert_eq!(CodePage::named(name).unwrap().decode(bytes).unwrap(), text, "{name}");
        }
        assert_eq!(CodePage::named(" ").unwrap(), CodePage::Unknown);
        for name in ["UTF-16", "CP9999", "klingon"] {
            let error = CodePage::named(name).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_and_never_replaced() {
        assert_eq!(CodePage::Unknown.decode("é".as_bytes()).unwrap(), "é");
        assert_eq!(CodePage::Unknown.decode(b"\xe9").unwrap(), "é");
        for (language, bytes, name) in [
            (0xf0, &b"\xff"[..], "UTF-8"),
            (0x13, b"a\x81", "Shift_JIS"),
            (0x6b, b"\xd5", "code page 857"),
        ] {
            let error = CodePage::of_language(language).unwrap().decode(bytes).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
