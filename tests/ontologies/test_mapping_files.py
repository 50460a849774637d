"""The mapping files of the field are recognised by their header; anything else is refused in one sentence."""

import contextlib
import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medm_plm.errors import InputError
from medm_plm.ontologies.mapping_files import ACCEPTED_SHAPES, atc_level3, read_mapping

NDC_TO_RXCUI = "{'00002456789': '111', '12345678901': '222', '55555666677': '', '99999888877': '333'}"
RXCUI_TO_ATC = "YEAR,MONTH,NDC,RXCUI,ATC4\n2015,1,12345678901,111,A10BA02\n2015,2,77777666655,222,C07AB\n"


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def rxnorm_folder(tmp_path):
    written(tmp_path / "ndc2rxnorm_mapping.txt", NDC_TO_RXCUI)
    written(tmp_path / "ndc2atc_level4.csv", RXCUI_TO_ATC)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "level3"),
    [
        ("N02BE01", "N02B"),
        ("n02be", "N02B"),
        (" N02B ", "N02B"),
        ("N02", None),
        ("", None),
        (None, None),
        ("123", None),
    ],
)
def test_codes_are_cut_to_the_third_level(code, level3):
    assert atc_level3(code) == level3


@pytest.mark.parametrize(
    "text",
    [
        "ndc,atc\n2456789,A10BA02\n",
        "NDC11;ATC_CODE\n00002456789;a10ba\n",
        "\ufeffNdc\tATC4\n0002-4567-89\tA10BA\n",
        '"ndc","name","atc level 3"\n"0002-4567-89","x","A10B"\n',
        "ndc,atc\n00002456789,\n00002456789,A10BA\n2456789,B01AC\n",
    ],
)
def test_ndc_to_atc(tmp_path, text):
    assert read_mapping(written(tmp_path / "map.csv", text)).by_ndc == {"00002456789": "A10B"}


def test_gzipped_table(tmp_path):
    path = tmp_path / "map.csv.gz"
    path.write_bytes(gzip.compress(b"ndc,atc\n2456789,A10BA02\n"))
    assert read_mapping(path).by_ndc == {"00002456789": "A10B"}


def test_the_chain_over_rxcui_from_folder_or_either_file(rxnorm_folder):
    # The chain wins over the NDC column of the second file, as in the published scripts; the rest is filled.
    expected = {"00002456789": "A10B", "12345678901": "C07A", "77777666655": "C07A"}
    for path in (rxnorm_folder, *rxnorm_folder.iterdir()):
        assert read_mapping(path).by_ndc == expected


def test_rxcui_table_without_ndc_column(rxnorm_folder):
    written(rxnorm_folder / "ndc2atc_level4.csv", "RXCUI,ATC4\n111.0,A10BA\n0222,C07AB02\n333,\n")
    assert read_mapping(rxnorm_folder).by_ndc == {"00002456789": "A10B", "12345678901": "C07A"}


def test_level4_file_alone_maps_by_its_own_ndc(tmp_path):
    path = written(tmp_path / "ndc2atc_level4.csv", RXCUI_TO_ATC)
    assert read_mapping(path).by_ndc == {"12345678901": "A10B", "77777666655": "C07A"}


def test_a_dict_literal_is_parsed_and_never_run(tmp_path):
    written(tmp_path / "RXCUI2atc4.csv", RXCUI_TO_ATC)
    canary = tmp_path / "canary"
    path = written(tmp_path / "ndc2rxnorm_mapping.txt", f"{{'1': open({str(canary)!r}, 'w').close()}}")
    with pytest.raises(InputError, match="dict literal"):
        read_mapping(path)
    assert not canary.exists()


def test_names_and_routes(tmp_path):
    text = (
        "dataset,drug,route,rows,atc3,atc3_name\n"
        "a,Alphamol,PO,10,A01A,x\n"
        "b,Alphamol ,PO,30,A02B,x\n"
        "a,Alphamol,LEFT EYE,5,S01E,x\n"
        "a,Betamol,IV,1,,x\n"
    )
    tables = read_mapping(written(tmp_path / "names.csv", text))
    assert tables.name_to_atc("alphamol", "po") == "A02B"
    assert (
        tables.name_to_atc("ALPHAMOL", "OU") == "S01E"
    )  # not listed, but a route of the eye like one that is
    assert tables.name_to_atc("Alphamol", None) == "A02B"  # most rows
    assert tables.name_to_atc("Alphamol", "TP") == "A02B"
    assert tables.name_to_atc("Betamol", "IV") is None
    assert tables.name_to_atc("Gammamol", "PO") is None


def test_names_alone_and_both_keys_at_once(tmp_path):
    tables = read_mapping(written(tmp_path / "a.csv", "medication,atc\nAlphamol,N02BE01\n"))
    assert tables.name_to_atc("Alphamol", "PR") == "N02B"
    tables = read_mapping(written(tmp_path / "b.csv", "ndc,drug,atc\n2456789,Alphamol,N02BE01\n"))
    assert (tables.by_ndc, tables.by_name) == ({"00002456789": "N02B"}, {"ALPHAMOL": "N02B"})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("map.csv", "subject_id,dose\n1,2\n", "of a known name: none"),
        ("map.csv", "ndc,name\n1,2\n", "of a known name: ndc"),
        ("map.csv", "rxcui,atc\n1,N02B\n", "of a known name: rxcui, atc"),
        ("map.csv", "", "not readable"),
        ("map.csv", "ndc,atc\n1,2,3\n4,5,6\n", "not readable"),
        ("map.csv", "ndc,atc\n2456789,N02\n", "no usable row"),
        ("map.txt", "{'2456789': '1'", "dict literal"),
        ("map.txt", "{1, 2}", "no dictionary"),
        ("map.txt", "{'2456789': '1'}", "RXCUI,ATC beside it"),
        ("map.txt", "{" * 5000, "dict literal"),
    ],
)
def test_other_shapes_are_refused_with_file_and_reason(tmp_path, name, text, said):
    path = written(tmp_path / name, text)
    with pytest.raises(InputError) as caught:
        read_mapping(path)
    assert said in str(caught.value)
    assert str(path if "beside" not in said else tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_header_gets_the_accepted_shapes(tmp_path):
    with pytest.raises(InputError) as caught:
        read_mapping(written(tmp_path / "map.csv", "a,b\n1,2\n"))
    assert ACCEPTED_SHAPES in str(caught.value)


@pytest.mark.parametrize(
    "row", ["1234567,Doe; John (born 1950-01-01),17\n", "Doe admitted with,chest pain\n", "Doe,N02B\n"]
)
def test_data_of_a_file_without_header_is_not_shown(tmp_path, row):
    with pytest.raises(InputError, match="columns, of a known name: none") as caught:
        read_mapping(written(tmp_path / "map.csv", row))
    assert "Doe" not in str(caught.value)
    assert "1234567" not in str(caught.value)


def test_missing_file_and_empty_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_mapping(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="no NDC -> RXCUI file"):
        read_mapping(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([b"", b"ndc,atc\n", b"drug,route,atc\n", b"{'1': "]), st.binary(max_size=200))
def test_any_bytes_are_a_mapping_or_one_input_error(tmp_path, header, content):
    path = tmp_path / "map.csv"
    path.write_bytes(header + content)
    with contextlib.suppress(InputError):
        read_mapping(path)
