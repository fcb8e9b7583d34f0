"""What ``nvidia-smi -q -x`` says of two H100 with driver 580, as far as the payload looks at it."""

from __future__ import annotations

from typing import Any

GOOD: dict[str, Any] = {
    "address": "00000000:19:00.0",
    "serial": "1650223000001",
    "vbios": "96.00.A5.00.01",
    "persistence": "Enabled",
    "ecc": "Enabled",
    "mig": "Disabled",
    "generation": "5",
    "width": "16x",
    "replays": "0",
    "capped": "91403239 us",
    "slowed": "0 us",
    "hot": "0 us",
    "brake": "0 us",
    "temperature": "61 C",
    "memory_temperature": "72 C",
    "power": "<instant_power_draw>688.10 W</instant_power_draw>",
    "sm": "1755 MHz",
    "dram_corrected": "0",
    "dram_uncorrected": "0",
    "sram_corrected": "0",
    "sram": "<sram_uncorrectable_parity>0</sram_uncorrectable_parity>"
    "<sram_uncorrectable_secded>0</sram_uncorrectable_secded>",
    "remapped": "0",
    "pending": "No",
    "failure": "No",
    "recovery": "<gpu_recovery_action>None</gpu_recovery_action>",
}

_GPU = """\
	<gpu id="{address}">
		<product_name>NVIDIA H100 80GB HBM3</product_name>
		<persistence_mode>{persistence}</persistence_mode>
		<mig_mode><current_mig>{mig}</current_mig><pending_mig>{mig}</pending_mig></mig_mode>
		<serial>{serial}</serial>
		<uuid>GPU-{serial}</uuid>
		<vbios_version>{vbios}</vbios_version>
		{recovery}
		<pci>
			<pci_device_id>233010DE</pci_device_id>
			<pci_bus_id>{address}</pci_bus_id>
			<pci_gpu_link_info>
				<pcie_gen>
					<max_link_gen>5</max_link_gen>
					<current_link_gen>{generation}</current_link_gen>
				</pcie_gen>
				<link_widths>
					<max_link_width>16x</max_link_width>
					<current_link_width>{width}</current_link_width>
				</link_widths>
			</pci_gpu_link_info>
			<replay_counter>{replays}</replay_counter>
		</pci>
		<clocks_event_reasons_counters>
			<COUNTER_sw_power_cap>{capped}</COUNTER_sw_power_cap>
			<COUNTER_sync_boost>0 us</COUNTER_sync_boost>
			<COUNTER_sw_therm_slowdown>{slowed}</COUNTER_sw_therm_slowdown>
			<COUNTER_hw_therm_slowdown>{hot}</COUNTER_hw_therm_slowdown>
			<COUNTER_hw_power_brake>{brake}</COUNTER_hw_power_brake>
		</clocks_event_reasons_counters>
		<ecc_mode><current_ecc>{ecc}</current_ecc><pending_ecc>{ecc}</pending_ecc></ecc_mode>
		<ecc_errors>
			<volatile>
				<sram_correctable>{sram_corrected}</sram_correctable>
				{sram}
				<dram_correctable>{dram_corrected}</dram_correctable>
				<dram_uncorrectable>{dram_uncorrected}</dram_uncorrectable>
			</volatile>
		</ecc_errors>
		<retired_pages>
			<double_bit_retirement><retired_count>N/A</retired_count></double_bit_retirement>
		</retired_pages>
		<remapped_rows>
			<remapped_row_corr>0</remapped_row_corr>
			<remapped_row_unc>{remapped}</remapped_row_unc>
			<remapped_row_pending>{pending}</remapped_row_pending>
			<remapped_row_failure>{failure}</remapped_row_failure>
		</remapped_rows>
		<temperature>
			<gpu_temp>{temperature}</gpu_temp>
			<memory_temp>{memory_temperature}</memory_temp>
		</temperature>
		<gpu_power_readings>
			{power}
			<current_power_limit>700.00 W</current_power_limit>
		</gpu_power_readings>
		<clocks><sm_clock>{sm}</sm_clock><mem_clock>2619 MHz</mem_clock></clocks>
		<fabric><state>Completed</state><status>Success</status></fabric>
	</gpu>
"""


def document(*gpus: dict[str, Any]) -> str:
    """The XML of GPUs, each as a good one but for what is given."""
    template = _GPU.replace("COUNTER_", "clocks_event_reasons_counters_")
    body = "".join(template.format(**{**GOOD, **one}) for one in gpus)
    return (
        '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'
        "<nvidia_smi_log>\n\t<timestamp>Fri Nov 20 10:00:00 2026</timestamp>\n"
        "\t<driver_version>580.95.05</driver_version>\n\t<cuda_version>13.0</cuda_version>\n"
        f"\t<attached_gpus>{len(gpus)}</attached_gpus>\n{body}</nvidia_smi_log>\n"
    )
